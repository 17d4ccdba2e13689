//! The processes under test: a real manager and real nodes, each behind its [`Proxy`].
//!
//! They end with the [`Service`], whatever happens: it kills them when it is dropped, and a panic, which
//! drops nothing, kills them from a hook.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Once};

use cluster::ids::Address;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

use super::proxy::{self, Cuts, Party, Proxy};

/// Why the service cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A process does not start.
    #[error("cannot start {}: {source}", path.display())]
    Start {
        /// Its program.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else that the system refuses.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// How the service is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the programs are.
    pub bin: PathBuf,
    /// Where data and logs go.
    pub folder: PathBuf,
    /// How many nodes.
    pub nodes: usize,
    /// Copies of each key.
    pub copies: usize,
    /// Between heartbeats.
    pub heartbeat_ms: u64,
}

/// All processes that are alive, for the hook.
static ALIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn kill_all_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Not waited for: the panic may have come while this was locked.
            if let Some(alive) = ALIVE.try_lock() {
                for &pid in alive.iter() {
                    let _ = send(pid, Signal::KILL);
                }
            }
            before(info);
        }));
    });
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("not a process"))?;
    Ok(kill_process(pid, signal)?)
}

/// A process that runs, or does not at present.
#[derive(Debug)]
struct Process {
    program: PathBuf,
    flags: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    fn start(&mut self) -> Result<u32, ServiceError> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|source| ServiceError::Start { path: self.program.clone(), source })?;
        let pid = child.id();
        ALIVE.lock().push(pid);
        self.child = Some(child);
        Ok(pid)
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Neither can fail for a child that was not waited for.
            let _ = child.kill();
            let _ = child.wait();
            ALIVE.lock().retain(|&pid| pid != child.id());
        }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.child.as_ref().map_or(Ok(()), |child| send(child.id(), signal))
    }

    /// How it ended, if it did so by itself.
    fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(format!("{} ended by itself: {status}; see {}", self.name(), self.log.display()))
    }

    fn name(&self) -> String {
        self.log.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The running service.
#[derive(Debug)]
pub struct Service {
    cuts: Arc<Cuts>,
    manager: Process,
    manager_port: u16,
    /// The manager as the clients reach it, then as each node does.
    to_manager: Vec<Proxy>,
    nodes: Vec<(Process, Proxy)>,
}

impl Service {
    /// Starts it all. Ports come from `random`.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn start(
        plan: &Plan,
        cuts: Arc<Cuts>,
        random: impl FnMut() -> u16,
    ) -> Result<Service, ServiceError> {
        kill_all_on_panic();
        fs::create_dir_all(&plan.folder)?;
        let mut ports = proxy::free_ports(2 + 3 * plan.nodes, random)?.into_iter();
        let mut port = || ports.next().expect("as many as are used below");
        let log = |name: String| plan.folder.join(name + ".log");
        let manager_port = port();
        let manager = Process {
            program: plan.bin.join("manager"),
            flags: vec![
                format!("--port={manager_port}"),
                format!("--rep={}", plan.copies),
                format!("--heartbeat-ms={}", plan.heartbeat_ms),
                format!("--data={}", plan.folder.join("manager").display()),
            ],
            log: log("manager".into()),
            child: None,
        };
        let open =
            |at: u16, from| Proxy::open(at, manager_port, from, Party::Manager, cuts.clone());
        let mut to_manager = vec![open(port(), Some(Party::Client))?];
        let mut nodes = Vec::with_capacity(plan.nodes);
        for i in 0..plan.nodes {
            let own_manager = open(port(), Some(Party::Node(i)))?;
            let (own, outer) = (port(), port());
            let proxy = Proxy::open(outer, own, None, Party::Node(i), cuts.clone())?;
            let process = Process {
                program: plan.bin.join("storage"),
                flags: vec![
                    format!("--label=node{}", i + 1),
                    format!("--port={own}"),
                    format!("--advertise=127.0.0.1:{outer}"),
                    format!("--manager=127.0.0.1:{}", own_manager.port()),
                    // Not what is tested here, and it would fill the disk.
                    "--snapshot-keys=0".into(),
                    "--snapshot-interval-ms=60000".into(),
                ],
                log: log(format!("node{}", i + 1)),
                child: None,
            };
            to_manager.push(own_manager);
            nodes.push((process, proxy));
        }
        let mut service = Service { cuts, manager, manager_port, to_manager, nodes };
        service.start_manager()?;
        for node in 0..plan.nodes {
            service.start_node(node)?;
        }
        Ok(service)
    }

    /// The manager as clients reach it.
    pub fn manager_of_clients(&self) -> Address {
        address(self.to_manager[0].port())
    }

    /// The manager itself.
    pub fn manager(&self) -> Address {
        address(self.manager_port)
    }

    /// Starts a node that is down.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn start_node(&mut self, node: usize) -> Result<(), ServiceError> {
        let (process, proxy) = &mut self.nodes[node];
        proxy.reopen()?;
        let pid = process.start()?;
        self.cuts.set_pid(Party::Node(node), Some(pid));
        Ok(())
    }

    /// Kills a node; its port refuses afterwards.
    pub fn kill_node(&mut self, node: usize) {
        let (process, proxy) = &mut self.nodes[node];
        process.kill();
        self.cuts.set_pid(Party::Node(node), None);
        proxy.close();
    }

    /// Starts the manager.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub fn start_manager(&mut self) -> Result<(), ServiceError> {
        let pid = self.manager.start()?;
        self.cuts.set_pid(Party::Manager, Some(pid));
        Ok(())
    }

    /// Kills the manager. Its forwarders go on and close what they accept; nothing follows from whether
    /// a manager refuses.
    pub fn kill_manager(&mut self) {
        self.manager.kill();
        self.cuts.set_pid(Party::Manager, None);
    }

    /// Stops or continues a process.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn pause(&self, who: Party, is_stopped: bool) -> io::Result<()> {
        let signal = if is_stopped { Signal::STOP } else { Signal::CONT };
        match who {
            Party::Manager => self.manager.signal(signal),
            Party::Node(node) => self.nodes[node].0.signal(signal),
            Party::Client => Ok(()),
        }
    }

    /// The first process that ended without being told to.
    pub fn ended(&mut self) -> Option<String> {
        let manager = self.manager.ended();
        manager.or_else(|| self.nodes.iter_mut().find_map(|(process, _)| process.ended()))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.manager.kill();
        for (process, _) in &mut self.nodes {
            process.kill();
        }
        self.cuts.end();
    }
}

fn address(port: u16) -> Address {
    Address::new("127.0.0.1", port).expect("a port that was bound is not 0")
}

/// The folder of the program that runs.
///
/// # Errors
/// If the system does not tell.
pub fn own_folder() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().unwrap_or(Path::new(".")).to_owned())
}
