//! The `strongroom` command. Everything is in the library; its command line is `strongroom::cli`.

fn main() -> std::process::ExitCode {
    strongroom::cli::main()
}
