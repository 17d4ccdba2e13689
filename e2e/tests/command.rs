//! The client command, as a person or a script runs it, against a cluster in this process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

use e2e::{Options, TestCluster, client_command, wait_until};
use harness::process::ChildProcess;

fn client(cluster: &TestCluster, arguments: &str) -> Command {
    let mut command = client_command(cluster.manager_address());
    command.args(arguments.split_whitespace());
    command
}

fn run(cluster: &TestCluster, arguments: &str) -> Output {
    client(cluster, arguments).output().expect("the client runs")
}

/// The output of a command that succeeds.
fn prints(cluster: &TestCluster, arguments: &str) -> String {
    let output = run(cluster, arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The exit code and the error text of a command that fails.
fn fails(cluster: &TestCluster, arguments: &str) -> (i32, String) {
    let output = run(cluster, arguments);
    assert!(output.stdout.is_empty(), "{arguments}: {output:?}");
    let printed = String::from_utf8(output.stderr).expect("text");
    (output.status.code().expect("an exit code"), printed.trim_end().to_owned())
}

/// Checks fields of a command's JSON. Parsed without a library: the fields are searched as text.
fn has(text: &str, fields: &[&str]) {
    for field in fields {
        assert!(text.contains(field), "no {field} in {text}");
    }
}

/// Enough to give time for a few calls while a node leaves, at a megabyte a second.
const KEYS: usize = 20_000;

fn filled(options: Options) -> TestCluster {
    let cluster = TestCluster::with(options);
    cluster.fill(KEYS, |n| format!("{n:01000}"));
    cluster
}

#[test]
fn a_plan_a_change_a_status_and_a_cancellation() {
    let cluster = filled(Options { nodes: 4, transfer_mb_s: Some(1), ..Options::default() });
    let plan = prints(&cluster, "--plan leave node3");
    let lines: Vec<&str> = plan.lines().collect();
    let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(0), ["node", "owns", "keeps", "fetches"]);
    for (line, name) in (1..).zip(["node1", "node2", "node3", "node4"]) {
        assert_eq!(words(line)[0], name, "{plan}");
    }
    let node3: Vec<&str> = words(3);
    assert_eq!((&node3[1..4], node3[6], node3[7]), (&["64", "→", "0"][..], "0", "0"), "{plan}");
    assert!(lines[5].starts_with("node3 leaving: 64 arcs change their owner, "), "{plan}");
    assert_eq!(lines.len(), 6, "{plan}");

    let json = prints(&cluster, "--plan leave node3 --json");
    has(
        &json,
        &["\"change\": \"node3 leaving\"", "\"arcs\": 64", "\"id\": \"node3\"", "\"copies\":"],
    );
    has(&json, &["\"least_copies\":", "\"keys\":", "\"bytes\":", "\"owns\":", "\"fetches\":"]);
    let idle = prints(&cluster, "--status");
    assert!(!idle.contains("under way"), "{idle}");

    // The change that begins is the planned one.
    let begun = prints(&cluster, "--leave node3");
    assert_eq!(begun.trim_end(), format!("OK, {}", lines[5]));
    let status = wait_until("something moves", || {
        let status = prints(&cluster, "--status");
        if status.contains("B/s") { Ok(status) } else { Err(status) }
    });
    has(
        &status,
        &["behind", "fetching", "leaving", "under way: node3 leaving", "health: healing: "],
    );
    let json = prints(&cluster, "--status --json");
    has(&json, &["\"change\": \"node3 leaving\"", "\"changing\": true", "\"state\": \"leaving\""]);
    has(&json, &["\"lost_slots\": []", "\"behind\":", "\"transfer_bytes_per_second\":"]);
    has(&json, &["\"weight\": 1", "\"epoch\":", "\"copies\": 2", "\"health\": \"healing: "]);

    // The refusal names the change under way.
    let (code, printed) = fails(&cluster, "--weight node1=2 --deadline-ms 300");
    assert_eq!(
        (code, printed.as_str()),
        (1, "client: refused: wait: a change is under way: node3 leaving")
    );

    let cancelled = prints(&cluster, "--cancel");
    let want = "OK, the change is cancelled: nothing moves\n";
    assert_eq!(cancelled, want);
    wait_until("all is as it was", || {
        let status = prints(&cluster, "--status");
        let is_so = status.ends_with("health: healthy\n") && !status.contains("leaving");
        if is_so { Ok(()) } else { Err(status) }
    });
}

#[test]
fn refusals_and_mistakes_have_their_exit_codes() {
    let cluster = TestCluster::start(2, 2);
    for (arguments, code, printed) in [
        (
            "--leave node1",
            1,
            "client: refused: that leaves 1 node for 2 copies of each key (--force does it all the same)",
        ),
        ("--plan leave node9", 1, "client: refused: no member is called node9"),
        (
            "--rep 3",
            1,
            "client: refused: there are 2 nodes for 3 copies (--force does it all the same)",
        ),
        ("--rep 2", 1, "client: refused: each key has 2 copies already"),
        ("--weight node1=1", 1, "client: refused: node1 weighs 1 already"),
        ("--cancel", 1, "client: refused: no change is under way"),
        (
            "--leave no,de",
            2,
            "client: --leave no,de: ',' is not allowed: use letters, digits, '.', '_' and '-'",
        ),
        ("--weight node1", 2, "client: --weight node1: it takes NODE=N"),
        ("--rep 0", 2, "client: --rep 0: it takes 1 to 64"),
        (
            "--plan leave",
            2,
            "client: --plan takes leave NODE, weight NODE=N, rep K, limits key=BYTES,value=BYTES, \
             min-copies N, heartbeat-ms MS or missed N",
        ),
        ("--leave node1 --rep 1", 2, "client: --leave and --rep: one at a time"),
        ("--get key --watch", 2, "client: --watch goes with --status"),
    ] {
        assert_eq!(fails(&cluster, arguments), (code, printed.to_owned()), "{arguments}");
    }
    let plan = prints(&cluster, "--plan leave node1 --force");
    assert!(plan.contains("node1 leaving: "), "{plan}");
    prints(&cluster, "--leave node1 --force");
    wait_until("it has left", || match prints(&cluster, "--status") {
        status if status.contains("1 of 2 copies in 256 arcs, more nodes are needed") => Ok(()),
        status => Err(status),
    });
}

#[test]
fn atomic_commands_expiries_and_listings() {
    let cluster = TestCluster::start(3, 3);
    let value = |key: &str| {
        let printed = prints(&cluster, &format!("--get {key}"));
        printed.split(", ").nth(1).expect("a value").to_owned()
    };
    assert!(prints(&cluster, "--put-if-absent user:1 --val a").starts_with("OK, node"));
    let there = (1, "user:1 is there already".to_owned());
    assert_eq!(fails(&cluster, "--put-if-absent user:1 --val b"), there);
    assert_eq!(value("user:1"), "a");
    assert_eq!(prints(&cluster, "--ttl user:1"), "user:1, for ever\n");

    assert_eq!(prints(&cluster, "--incr n"), "n, 1\n");
    assert_eq!(prints(&cluster, "--incr n --by=-12"), "n, -11\n");
    let why = "client: user:1 holds no integer of 64 bits, or the sum is none; nothing was changed";
    assert_eq!(fails(&cluster, "--incr user:1"), (1, why.to_owned()));
    assert_eq!(value("user:1"), "a");

    // A counter keeps its expiry.
    prints(&cluster, "--put user:2 --val 5 --expire-ms 600000");
    assert_eq!(prints(&cluster, "--incr user:2"), "user:2, 6\n");
    let ttl = prints(&cluster, "--ttl user:2");
    let ms: u64 = ttl
        .strip_prefix("user:2, ")
        .and_then(|rest| rest.strip_suffix(" ms\n"))
        .and_then(|ms| ms.parse().ok())
        .unwrap_or_else(|| panic!("{ttl}"));
    assert!((1..=600_000).contains(&ms), "{ttl}");
    prints(&cluster, "--put-if-absent user:3 --val soon --expire-ms 1");
    let gone = (1, "user:3 not found".to_owned());
    wait_until("it has expired", || {
        let output = run(&cluster, "--get user:3");
        if output.status.success() { Err("it is there".to_owned()) } else { Ok(()) }
    });
    assert_eq!(fails(&cluster, "--ttl user:3"), gone);
    assert!(prints(&cluster, "--put-if-absent user:3 --val again").starts_with("OK, "));

    let lines = |arguments: &str| {
        let printed = prints(&cluster, arguments);
        let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines("--scan user:"), ["user:1", "user:2", "user:3"]);
    assert_eq!(lines("--scan n"), ["n"]);
    assert_eq!(lines("--scan nothing"), [""; 0]);
    let client = cluster.client();
    let pairs: Vec<(String, &str)> = (0..2500).map(|n| (format!("many:{n:04}"), "v")).collect();
    client.put_many(&pairs).into_iter().for_each(|placed| drop(placed.unwrap()));
    assert_eq!(lines("--scan many:"), pairs.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>());
}

#[test]
fn a_status_that_is_watched_goes_on_until_its_reader_goes() {
    let mut cluster = TestCluster::start(2, 2);
    for (arguments, is_whole) in [
        ("--status --watch", (|line| line == "health: healthy") as fn(&str) -> bool),
        ("--status --watch --json", |line| {
            line.starts_with('{') && line.ends_with('}') && line.contains("\"health\":\"healthy\"")
        }),
    ] {
        let mut command = client(&cluster, arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = ChildProcess::start(&mut command).expect("the client runs");
        let mut lines = BufReader::new(running.child().stdout.take().expect("it is piped")).lines();
        for _ in 0..3 {
            let mut read = lines.by_ref().map(|line| line.expect("text"));
            assert!(read.any(|line| is_whole(&line)), "{arguments}: it ended");
        }
        // The command waits for a manager that is away, and reports it.
        cluster.stop_manager();
        let mut read = lines.by_ref().map(|line| line.expect("text"));
        assert!(read.any(|line| line.contains("no manager at ")), "{arguments}: it ended");
        cluster.start_manager();
        let mut read = lines.by_ref().map(|line| line.expect("text"));
        assert!(read.any(|line| is_whole(&line)), "{arguments}: it ended");
        drop(lines);
        let code = wait_until("it ends", || {
            running.ended().map_err(|e| e.to_string())?.ok_or("it runs".to_owned())
        });
        assert!(code.success(), "{arguments}: {code}");
        let mut printed = String::new();
        let mut errors = running.child().stderr.take().expect("it is piped");
        errors.read_to_string(&mut printed).expect("text");
        assert_eq!(printed, "", "{arguments}");
    }
}

#[test]
fn a_command_waits_for_a_manager_that_is_away() {
    let mut cluster = TestCluster::start(2, 2);
    cluster.stop_manager();
    let mut running: Vec<ChildProcess> =
        ["--get nothing", "--status --check", "--cancel", "--scan x"]
            .iter()
            .map(|arguments| {
                let mut command = client(&cluster, arguments);
                command
                    .args(["--deadline-ms", "600000"])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                ChildProcess::start(&mut command).expect("the client runs")
            })
            .collect();
    assert!(running.iter_mut().all(|it| it.ended().expect("a child").is_none()));
    cluster.start_manager();
    for (it, codes) in running.iter_mut().zip([&[1][..], &[0, 1, 2], &[1], &[0]]) {
        let code = it.wait().expect("a child").code().expect("an exit code");
        assert!(codes.contains(&code), "{code}");
    }
}

#[test]
fn the_exit_code_of_a_check_grades_the_health() {
    let mut cluster =
        TestCluster::with(Options { nodes: 2, copies: 2, is_proxied: true, ..Options::default() });
    let checked = |cluster: &TestCluster| {
        let output = run(cluster, "--status --check --deadline-ms 1000");
        (output.status.code().expect("an exit code"), String::from_utf8(output.stdout).unwrap())
    };
    let is = |cluster: &TestCluster, code: i32, part: &str| {
        wait_until("it is so bad", || match checked(cluster) {
            (got, printed) if got == code && printed.contains(part) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    is(&cluster, 0, "health: healthy");
    assert_eq!(run(&cluster, "--status --check --json").status.code(), Some(0));
    cluster.kill_at_once(&[1]);
    is(&cluster, 1, "more nodes are needed");
    cluster.client().put(b"key1", b"value1").unwrap();
    cluster.kill_at_once(&[0]);
    is(&cluster, 2, "health: unavailable: ");
    assert_eq!(run(&cluster, "--status").status.code(), Some(0), "it was not asked");
    cluster.stop_manager();
    let (code, printed) = fails(&cluster, "--status --check --deadline-ms 300");
    assert!(code == 3 && printed.starts_with("client: no manager at "), "{code}: {printed}");
}

#[test]
fn a_raw_value_is_every_byte_of_it_and_nothing_else() {
    let cluster = TestCluster::start(2, 2);
    let value = b"v, w\0\xff\n\x1b[0m";
    cluster.client().put(b"k, v", value).unwrap();
    let mut command = client_command(cluster.manager_address());
    let output = command.args(["--get", "k, v", "--raw"]).output().expect("the client runs");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &value[..]));
    cluster.client().put(b"empty", b"").unwrap();
    assert_eq!(prints(&cluster, "--get empty --raw"), "");
    assert_eq!(fails(&cluster, "--get nothing --raw"), (1, "nothing not found".into()));
}

#[test]
fn a_loss_and_its_acceptance() {
    let mut cluster =
        TestCluster::with(Options { nodes: 2, copies: 1, is_proxied: true, ..Options::default() });
    let client = cluster.client();
    let keys: Vec<String> = (0..100).map(|n| format!("key{n}")).collect();
    for key in &keys {
        client.put(key.as_bytes(), b"value").unwrap();
    }
    let lost = cluster.node_name(0);
    let of = |is_lost: bool| {
        let mut keys = keys.iter();
        let is_so =
            |key: &&String| (client.primary_of(key.as_bytes()).as_ref() == Some(&lost)) == is_lost;
        keys.find(is_so).expect("both have some").clone()
    };
    let (gone, kept) = (of(true), of(false));
    assert_eq!(prints(&cluster, "--accept-loss --yes"), "nothing is lost: healthy\n");
    cluster.kill_at_once(&[0]);
    let status = wait_until("the loss is noticed", || match prints(&cluster, "--status") {
        status if status.contains("health: unavailable: 128 of 256 arcs, about ") => Ok(status),
        status => Err(status),
    });
    has(&status, &["lost slots: ", "node1 ended with them, accept the loss to go on", "down"]);
    assert!(prints(&cluster, "--status --json").contains("\"lost_slots\": [\n"), "{status}");
    let why = "client: unavailable: no live node holds this key; client --status tells which to bring back";
    assert_eq!(fails(&cluster, &format!("--get {gone}")), (1, why.to_owned()));
    assert_eq!(fails(&cluster, &format!("--put {gone} --val value")), (1, why.to_owned()));
    assert_eq!(prints(&cluster, &format!("--get {kept}")), format!("{kept}, value, node2\n"));
    // The question gets no answer.
    let asked = prints(&cluster, "--accept-loss");
    has(&asked, &["unavailable: 128 of 256 arcs, about ", "\n128 arcs begin empty\n"]);
    assert!(
        asked.ends_with("Go on without their keys, for good? Type yes: nothing was changed\n"),
        "{asked}"
    );
    assert_eq!(prints(&cluster, "--accept-loss --yes"), "OK, 128 arcs begin empty\n");
    wait_until("it goes on", || match fails(&cluster, &format!("--get {gone}")) {
        (1, printed) if printed == format!("{gone} not found") => Ok(()),
        (_, printed) => Err(printed),
    });
    prints(&cluster, &format!("--put {gone} --val value"));
}
