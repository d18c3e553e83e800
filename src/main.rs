//! The program: only calls the command line.

fn main() -> std::process::ExitCode {
    strongroom::cli::main()
}
