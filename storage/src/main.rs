//! `storage`: the program. See `storage --help`.

use std::process::ExitCode;

use crossbeam_channel::{bounded, select};
use log::{error, info, warn};
use net_common::bind::BindError;
use net_common::flags::{self, FAILED, REFUSED};
use net_common::{bind, descriptors, logging, output, signals};
use storage::args::Args;
use storage::control::Departure;
use storage::redis::server::Listeners;
use storage::{Storage, args, disk};

fn main() -> ExitCode {
    flags::main("storage", run)
}

/// File descriptors that a node needs beside its clients' connections.
const OWN_DESCRIPTORS: u64 = 256;

fn run() -> Result<ExitCode, (u8, String)> {
    let arguments = flags::arguments().map_err(|e| (REFUSED, e.to_string()))?;
    let Some(args) = args::parse(&arguments).map_err(|e| (e.code(), e.to_string()))? else {
        return Ok(ExitCode::SUCCESS);
    };
    logging::start(args.log_level);
    if let Some(folder) = &args.check {
        let text = disk::check(folder).map_err(|e| (FAILED, e.to_string()))?;
        output::print(text).map_err(|e| (FAILED, e.to_string()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let stop = signals::StopSignals::for_server(args.config.secret.clone())
        .map_err(|e| (FAILED, e.to_string()))?;
    descriptors::keep_private();
    let ports = 1 + 2 * u64::from(args.redis_port.is_some());
    if let Some(limit) = descriptors::raise_limit()
        && limit < ports * args.config.limits.connections as u64 + OWN_DESCRIPTORS
    {
        warn!("the system allows {limit} open files: fewer connections than --max-connections");
    }
    let listener = bind::listen(&args.bind, args.port, args.config.secret.is_some())
        .map_err(|e| (REFUSED, e.to_string()))?;
    let redis = args
        .redis_port
        .map(|port| redis_listeners(&args, port))
        .transpose()
        .map_err(|e| (REFUSED, e.to_string()))?;
    info!("{args}");
    let mut storage =
        Storage::start(listener, redis, args.config).map_err(|e| (REFUSED, e.to_string()))?;
    info!("listening on {}", storage.address());
    if let Some(address) = storage.redis_address() {
        info!("speaking the Redis protocol on {address}");
    }
    if let Some(address) = storage.redis_cluster_address() {
        info!("sending cluster-aware Redis clients to {address}");
    }

    let (signalled, signal) = bounded(1);
    logging::spawn("storage signals".into(), move || signalled.send(stop.wait()))
        .map_err(|e| (FAILED, e.to_string()))?;
    select! {
        recv(signal) -> signal => {
            info!("{}: stopping", signal.unwrap_or("signal"));
            storage.stop();
            Ok(ExitCode::SUCCESS)
        }
        recv(storage.ended().clone()) -> end => {
            storage.stop();
            let why = match end {
                Ok(Departure::Left) => {
                    info!("left the cluster: others hold what this node held");
                    return Ok(ExitCode::SUCCESS);
                }
                Ok(Departure::Refused(why)) => why,
                Err(_) => "the control thread ended".into(),
            };
            error!("{why}");
            Err((REFUSED, why))
        }
    }
}

/// Opens the listeners of the Redis protocol.
fn redis_listeners(args: &Args, port: u16) -> Result<Listeners, BindError> {
    let listen = |port| bind::listen(&args.bind, port, args.config.secret.is_some());
    let whole = listen(port)?;
    let cluster = match args.redis_cluster_port {
        Some(0) => None,
        Some(port) => Some(listen(port)?),
        // Clients learn it from the view, so any port will do.
        None => {
            let usual = port.checked_add(args::CLUSTER_PORT_ABOVE).map(listen);
            Some(match usual {
                Some(Ok(listener)) => listener,
                Some(Err(_)) | None => listen(0)?,
            })
        }
    };
    Ok(Listeners { whole, cluster })
}
