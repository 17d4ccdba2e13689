//! `bench`: the program. See `bench --help`.

use std::process::ExitCode;

use bench::{args, command};
use net_common::flags::{self, REFUSED};
use net_common::logging;

fn main() -> ExitCode {
    flags::main("bench", run)
}

fn run() -> Result<ExitCode, (u8, String)> {
    let arguments = flags::arguments().map_err(|e| (REFUSED, e.to_string()))?;
    match args::parse(&arguments) {
        Err(error) => Err((error.code(), error.to_string())),
        Ok(None) => Ok(ExitCode::SUCCESS),
        Ok(Some(args)) => {
            logging::start(args.log_level);
            command::run(&args).map_err(|error| (error.code(), error.to_string()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
