//! `manager`: the program. See `manager --help`.

use std::process::ExitCode;

use crossbeam_channel::{bounded, select};
use log::{error, info};
use manager::{Manager, args};
use net_common::flags::{self, FAILED, REFUSED};
use net_common::{bind, descriptors, logging, signals};

fn main() -> ExitCode {
    flags::main("manager", run)
}

fn run() -> Result<ExitCode, (u8, String)> {
    let arguments = flags::arguments().map_err(|e| (REFUSED, e.to_string()))?;
    let Some(args) = args::parse(&arguments).map_err(|e| (e.code(), e.to_string()))? else {
        return Ok(ExitCode::SUCCESS);
    };
    logging::start(args.log_level);
    let stop = signals::StopSignals::for_server(args.config.secret.clone())
        .map_err(|e| (FAILED, e.to_string()))?;
    descriptors::keep_private();
    descriptors::raise_limit();
    let listener = bind::listen(&args.bind, args.port, args.config.secret.is_some())
        .map_err(|e| (REFUSED, e.to_string()))?;
    info!("{args}");
    let mut manager =
        Manager::start(listener, args.config).map_err(|e| (REFUSED, e.to_string()))?;
    info!("listening on {}", manager.address());
    let (caught, signal) = bounded(1);
    logging::spawn("manager signals".into(), move || caught.send(stop.wait()))
        .map_err(|e| (FAILED, e.to_string()))?;
    select! {
        recv(signal) -> signal => {
            info!("{}: stopping", signal.unwrap_or("signal"));
            manager.stop();
            Ok(ExitCode::SUCCESS)
        }
        recv(manager.ended().clone()) -> why => {
            manager.stop();
            let why = why.unwrap_or_else(|_| "the monitor thread ended".into());
            error!("{why}");
            Err((REFUSED, why))
        }
    }
}
