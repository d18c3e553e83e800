//! The `strongroom` command. Everything is in the library; its command line is `strongroom::cli`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    strongroom::cli::main()
}
