//! `start_service`, as a person runs it: what it starts, and what it refuses.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::scripts::{INTERRUPTS, PORTS, Place, ended, err, out, signal, wait_until_so};
use e2e::{Resp, programs};
use harness::process::ChildProcess;

#[test]
fn a_service_starts_answers_and_stops() {
    let place = Place::new();
    place.started("--nodes 3 --rep 2 --fresh --heartbeat-ms=500 --log-level debug");
    let pids = place.pids();
    assert_eq!(pids.len(), 4);
    for (line, pid) in pids.iter().enumerate() {
        let processes = place.processes();
        let (_, called) = processes.iter().find(|(p, _)| p == pid).expect("it runs");
        let who = if line == 0 { "manager".into() } else { format!("--label node{line} ") };
        assert!(called.contains(&who), "line {line}: {called}");
        assert_eq!(called.contains("--heartbeat-ms=500"), line == 0, "{called}");
        assert!(called.contains("--log-level=debug"), "{called}");
    }
    for log in ["manager", "node1", "node2", "node3"] {
        assert!(place.path(&format!("logs/{log}.log")).exists(), "{log}");
    }
    assert!(place.path("data/manager").is_dir());
    assert!(place.client_output("--put key1 --val value1").starts_with("OK, node"));
    assert!(place.client_output("--get key1").starts_with("key1, value1, node"));
    let status = place.client_output("--status");
    assert!(
        status.contains("2 copies of each key\ndurability: async\nhealth: healthy"),
        "{status}"
    );

    assert_eq!(out(&place.stop()), "stopped manager node1 node2 node3\n");
    place.assert_nothing_runs();
    let again = place.stop();
    assert_eq!((out(&again), err(&again)), (String::new(), String::new()));

    // And once more, on the existing data.
    place.started("--nodes 3 --rep 2");
    assert!(place.client_output("--put key1 --val value2").starts_with("OK, node"));
}

#[test]
fn settings_of_the_first_start_stay_and_are_reported() {
    let place = Place::new();
    let printed = out(&place.started("--nodes 2 --rep 2 --fresh --heartbeat-ms 500"));
    assert!(printed.contains("2 copies of each key"), "{printed}");
    place.stop();
    let again = place.started("--nodes 2 --rep 1 --heartbeat-ms 300");
    assert!(out(&again).contains("2 copies of each key"), "{again:?}");
    for line in [
        "manager: --rep 1 is not used: the cluster has 2, which stays; client --rep 1 changes it\n",
        "manager: --heartbeat-ms 300 is not used: the cluster has 500, which stays; client --heartbeat-ms 300",
    ] {
        assert!(err(&again).contains(line), "{again:?}");
    }
    // Nor does a flag change the weight of a returning node.
    assert!(place.client_output("--weight node2=3").starts_with("OK, "));
    place.client_output("--wait 2");
    place.stop();
    let third = place.started("--nodes 2 --rep 2 --heartbeat-ms 500 --weight 1");
    let line = "node2: --weight 1 is not used: node2 weighs 3, which stays (client --weight node2=1 changes it)";
    assert_eq!(err(&third).trim_end(), line);
}

#[test]
fn files_of_a_service_are_private_to_its_user() {
    let place = Place::new();
    let script = "umask 022; ./start_service --nodes 2 --rep 1 --durability sync";
    let mut command = place.command("bash", "-c");
    let output = command.arg(script).current_dir(place.folder()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    place.client_output("--put key1 --val value1");
    let mut left: Vec<PathBuf> =
        ["logs", "data", "service_pids.txt", "service_flags.txt"].map(|n| place.path(n)).into();
    let mut seen = 0;
    while let Some(path) = left.pop() {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        seen += 1;
        if metadata.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 12, "{seen}");

    // The program does the same without the script.
    place.stop();
    let script = "umask 022; exec \"$GTSTORE_BIN\"/manager --port 0 --data alone";
    let mut command = place.command("bash", "-c");
    command.arg(script).current_dir(place.folder()).stderr(Stdio::null());
    let _running = ChildProcess::start(&mut command).unwrap();
    let view = place.path("alone/view");
    wait_until_so("the manager has saved", || view.exists());
    for path in [&view, &place.path("alone")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0);
    }
}

#[test]
fn nodes_speak_the_redis_protocol_on_ports_of_their_own() {
    let place = Place::new();
    let base = place.port + PORTS / 2;
    let start = |arguments, base: u16| {
        let mut command = place.command(place.path("start_service"), arguments);
        command.env("GTSTORE_REDIS_BASE_PORT", base.to_string()).output().expect("it runs")
    };
    let clash = start("--nodes 2 --rep 2", place.port + 1);
    assert_eq!(clash.status.code(), Some(2));
    assert!(err(&clash).contains("GTSTORE_REDIS_BASE_PORT"), "{clash:?}");
    let started = start("--nodes 2 --rep 2 --fresh", base);
    let line = format!(", Redis protocol on {} to {}\n", base + 1, base + 2);
    assert!(out(&started).ends_with(&line), "{started:?}");
    // A node that is added later follows the rule, without the flag.
    place.kill(2);
    place.started("--add node2");
    place.started("--add node3");
    for n in 1..=3 {
        let mut redis = Resp::open(([127, 0, 0, 1], base + n).into());
        assert_eq!(redis.ask(&format!("SET key{n} value")), "OK");
    }
}

#[test]
fn a_second_start_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    place.started("--nodes 2 --rep 2 --fresh");
    place.client_output("--put key1 --val value1");
    let before = place.pids();
    let (code, words) = place.refused("--nodes 2 --rep 2 --fresh");
    assert_eq!(code, 2);
    assert!(words.contains("runs here already"), "{words}");
    for arguments in ["--add node2", "--add node3 node2 node4", "--add node3 manager"] {
        let (code, words) = place.refused(arguments);
        assert_eq!(code, 2);
        assert!(words.contains("it runs already"), "{words}");
    }
    assert_eq!(place.refused("--nodes 2 --rep 99").0, 2);
    assert_eq!(place.pids(), before);
    assert!(place.client_output("--get key1").starts_with("key1, value1, "));
    assert_eq!(place.processes().len(), 3);
}

#[test]
fn a_taken_port_is_refused() {
    let place = Place::new();
    fs::create_dir(place.path("data")).unwrap();
    for (offset, whose) in [(0, "manager"), (2, "node2")] {
        let port = place.port + offset;
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (code, words) = place.refused("--nodes 3 --rep 2 --fresh");
        assert_eq!(code, 2, "{words}");
        assert!(words.contains(&format!("port {port}, for {whose}, is taken")), "{words}");
        place.assert_nothing_runs();
        assert!(place.path("data").exists(), "wiped before it was sure to start");
    }
    place.started("--nodes 2 --rep 1");
    let file = place.path("service_flags.txt");
    let record = fs::read_to_string(&file).unwrap();
    fs::write(&file, record.replace("redis=0\n", "redis=65533\n")).unwrap();
    let (code, words) = place.refused("--add node3");
    assert_eq!(code, 2, "{words}");
    assert!(words.contains("port 65536, and the highest is 65535"), "{words}");
}

#[test]
fn bad_arguments_are_refused_before_anything_is_touched() {
    let place = Place::new();
    fs::create_dir(place.path("data")).unwrap();
    for (arguments, want) in [
        ("", "give --nodes N and --rep K"),
        ("--nodes 3", "give --nodes N and --rep K"),
        ("--nodes 0 --rep 1", "--nodes 0: it takes 1 to"),
        ("--nodes x --rep 1", "--nodes x: it takes 1 to"),
        ("--nodes 1 --rep 0", "--rep 0: it takes 1 to 64"),
        ("--nodes 1 --rep=65", "--rep 65: it takes 1 to 64"),
        ("--nodes 1 --rep", "--rep needs a value"),
        ("--nodes 1 --rep 1 --fresh --bogus 3", "--bogus: neither manager nor storage knows"),
        ("--nodes 1 --rep 1 --fresh --weight", "--weight needs a value"),
        ("--nodes 1 --rep 1 --fresh --port 7000", "--port is not for you to give"),
        ("--nodes 1 --rep 1 --fresh extra", "extra belongs to no flag"),
        ("--nodes 1 --rep 1 --fresh --bind 0.0.0.0", "--bind 0.0.0.0: also give --advertise"),
        ("--add", "--add needs a value"),
        ("--add node1 node2 node1", "--add node1: it is there twice"),
        ("--add node1 --add=node1", "--add node1: it is there twice"),
        ("--add node1 ../x node2", "--add ../x: a name has"),
        ("--add ../x", "--add ../x: a name has"),
        ("--add node1 --weight 2", "--add takes the flags that the service was started with"),
        ("--add node1", "--add node1: no service was started here"),
    ] {
        let (code, words) = place.refused(arguments);
        assert_eq!(code, 2, "{arguments}: {words}");
        assert!(words.starts_with(&format!("start_service: {want}")), "{arguments}: {words}");
        place.assert_nothing_runs();
        assert!(place.path("data").exists(), "{arguments}");
    }
    assert_eq!(place.run("stop_service", "--all").status.code(), Some(2));
}

#[test]
fn a_programs_refusal_is_shown_verbatim() {
    let place = Place::new();
    for (arguments, want) in [
        ("--nodes 2 --rep 1 --weight 0", "--weight 0: it takes 1 to 1000"),
        ("--nodes 2 --rep 1 --arcs=100", "--arcs 100: it takes a power of two"),
        ("--nodes 2 --rep 1 --bind 0.0.0.0 --advertise 127.0.0.1", "--secret-file FILE"),
    ] {
        let (code, words) = place.refused(arguments);
        assert_eq!(code, 2, "{words}");
        assert!(words.contains(want), "{arguments}: {words}");
        place.assert_nothing_runs();
    }
}

#[test]
fn a_process_that_dies_at_the_start_ends_it_at_once() {
    let storage = programs().join("storage");
    let storage = storage.display();
    let script = format!("[[ $1 != --help ]] || exec {storage} --help\necho is broken; exit 3");
    let place = Place::with_stand_ins(&[("storage", &script)]);
    let since = Instant::now();
    let (code, words) = place.refused("--nodes 2 --rep 1");
    assert_eq!(code, 1);
    assert!(words.contains("ended with exit code 3"), "{words}");
    assert!(words.contains("is broken"), "{words}");
    // Well before the 30 s that a cluster has to come up.
    assert!(since.elapsed() < Duration::from_secs(25));
    place.assert_nothing_runs();
}

#[test]
fn an_interrupted_start_leaves_nothing() {
    // A client for which the cluster never comes up.
    let place = Place::with_stand_ins(&[("client", "exec sleep 600")]);
    // When it has begun to start processes, and when it waits for them: the last command that it
    // has run.
    for last in ["--rep 1 --data ", "sleep 600"] {
        for (name, want) in INTERRUPTS {
            let start = place.interruptible("--nodes 2 --rep 1");
            wait_until_so("it starts the cluster", || place.has_process(last));
            signal(name, &start.id().to_string());
            assert_eq!(ended(start).status.code(), Some(want), "{name} at {last}");
            place.assert_nothing_runs();
        }
    }
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    // In the middle, and when all is over and the cluster is being stopped, which takes a while: a
    // node hangs.
    let hang = "kill -STOP \"$(sed -n 2p service_pids.txt)\"";
    let signals = [("INT", 130), ("HUP", 129), ("QUIT", 131), ("TERM", 143)];
    for (bench, last, signals) in
        [("exec sleep 600", "sleep 600", &signals[..]), (hang, "stop_service", &signals[..2])]
    {
        for &(name, want) in signals {
            let place = Place::with_stand_ins(&[("bench", bench)]);
            let script = place.path("run.sh").display().to_string();
            let call = format!("--default-signal=TERM,INT,HUP,QUIT {script} single");
            let mut command = place.command("env", &call);
            command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
            let run = command.spawn().expect("it runs");
            wait_until_so("it is so far", || place.has_process(last));
            // As a terminal does it: all processes of the group get it.
            signal(name, &format!("-- -{}", run.id()));
            assert_eq!(ended(run).status.code(), Some(want), "{name} at {last}");
            place.assert_nothing_runs();
        }
    }
}

#[test]
fn a_start_reports_what_is_missing() {
    let place = Place::new();
    // No cargo, and no programs.
    let mut command = place.command(place.path("start_service"), "--nodes 1 --rep 1");
    let paths = "/usr/bin:/bin";
    if paths.split(':').any(|folder| Path::new(folder).join("cargo").exists()) {
        eprintln!("SKIPPED: there is a cargo in {paths}");
    } else {
        let output = command.env_remove("GTSTORE_BIN").env("PATH", paths).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let words = err(&output);
        assert!(words.contains("https://rustup.rs") && words.contains("GTSTORE_BIN"), "{words}");
    }
    // No disk space.
    let can_mount = Command::new("unshare").args(["-m", "true"]).status();
    if !can_mount.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: unshare is missing or refused: this needs root");
        return;
    }
    let script = "set -e; mkdir -p data; mount -t tmpfs -o size=1m tmpfs data
        head -c 2M /dev/zero >data/ballast 2>/dev/null || true
        ./start_service --nodes 1 --rep 1";
    let mut command = place.command("unshare", "-m bash -c");
    let output = command.arg(script).current_dir(place.folder()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let want = "nothing can be written in data: No space left on device";
    assert!(err(&output).contains(want), "{output:?}");
    place.assert_nothing_runs();
}

#[test]
fn the_programs_folder_may_have_any_name() {
    let mut place = Place::new();
    let odd = place.path(" the programs=");
    symlink(programs(), &odd).unwrap();
    place.bin = odd;
    let started = place.started("--nodes 1 --rep 1 --fresh");
    let line = format!("1 node on port {}, 1 copy of each key\n", place.port + 1);
    assert!(out(&started).ends_with(&line), "{started:?}");
    let mut command = place.command(place.path("start_service"), "--add node2");
    let output = command.env_remove("GTSTORE_BIN").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_secret_reaches_every_program() {
    let place = Place::new();
    let secret = place.path("our secret");
    fs::write(&secret, "a secret that is long enough for anybody\n").unwrap();
    // A path relative to the caller's folder, with a space in it.
    let start = |arguments: &[&str]| {
        let mut command = place.command(place.path("start_service"), "");
        command.current_dir(place.path("data")).args(arguments).output().expect("the script runs")
    };
    fs::create_dir(place.path("data")).unwrap();
    let flags = ["--nodes", "2", "--rep", "2", "--secret-file", "../our secret"];
    let bind = ["--bind", "0.0.0.0", "--advertise", "127.0.0.1"];
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = start(&flags);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(err(&refused).contains("chmod 600 it"), "{refused:?}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let output = start(&[&flags[..], &bind[..]].concat());
    assert!(output.status.success(), "{output:?}");
    let refused = place.client("--get key1");
    assert!(err(&refused).contains("secret"), "{refused:?}");
    let output = start(&["--add", "node3"]);
    assert!(output.status.success(), "{output:?}");
    let status = place
        .command(programs().join("client"), "--status")
        .env("GTSTORE_SECRET_FILE", &secret)
        .output()
        .unwrap();
    assert_eq!(out(&status).matches(" active ").count(), 3, "{status:?}");
}
