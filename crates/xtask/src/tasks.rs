//! The list of tasks. Each step is defined here once, and the task `ci` has the steps of the
//! others.
//!
//! `ci` shortens some steps to finish in minutes; `soak` runs them in full.

use std::fmt::Write as _;

use crate::step::{Action, Line, Step};

/// Steps under a name.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its purpose.
    pub about: &'static str,
    /// Its steps, in order.
    pub steps: fn() -> Vec<Step>,
}

/// All tasks.
const TASKS: &[Task] = &[
    Task { name: "check", about: "format, lints, dependencies, shell scripts", steps: check },
    Task { name: "docs", about: "the documentation builds, without a warning", steps: docs },
    Task { name: "test", about: "every test, as the README has it", steps: test },
    Task { name: "e2e", about: "tests of whole clusters; the scenarios of run.sh", steps: e2e },
    Task { name: "sim", about: "simulation and model, and with rules taken away", steps: sim },
    Task { name: "bench-smoke", about: "faults and kills, histories checked", steps: bench_smoke },
    Task { name: "ci", about: "all of the above, side by side where they can be", steps: ci },
    Task { name: "soak", about: "the long versions: hours", steps: soak },
];

/// The task of a name.
pub fn find(name: &str) -> Option<&'static Task> {
    TASKS.iter().find(|task| task.name == name)
}

/// The list of tasks, as text.
pub fn list() -> String {
    let mut text = String::from("Usage: cargo xtask TASK\n");
    for task in TASKS {
        let _ = write!(text, "\n  {:<12}{}", task.name, task.about);
    }
    text.push_str("\n\nExit code 0: all is well; 1: a step failed; 2: bad arguments.");
    text
}

/// A step that runs a command.
fn run(name: &'static str, words: &'static str) -> Step {
    run_with(name, &[], words)
}

/// The same, with settings.
fn run_with(
    name: &'static str,
    env: &'static [(&'static str, &'static str)],
    words: &'static str,
) -> Step {
    Step { name, what: Action::Run(Line { env, words }) }
}

fn check() -> Vec<Step> {
    let if_installed =
        |name, words| Step { name, what: Action::RunIfInstalled(Line { env: &[], words }) };
    vec![
        run("fmt", "cargo fmt --all --check"),
        run("clippy", "cargo clippy --workspace --all-targets -- -D warnings"),
        Step { name: "policy", what: Action::Policy },
        if_installed("cargo-deny", "cargo-deny check"),
        if_installed(
            "shellcheck",
            "shellcheck --external-sources start_service stop_service run.sh .ci/run",
        ),
    ]
}

fn docs() -> Vec<Step> {
    const STRICT: &[(&str, &str)] = &[("RUSTDOCFLAGS", "-D warnings")];
    vec![run_with("doc", STRICT, "cargo doc --workspace --no-deps")]
}

/// More threads than cores: tests of whole clusters wait most of the time.
const WAITING: &[(&str, &str)] = &[("RUST_TEST_THREADS", "6")];

fn test() -> Vec<Step> {
    vec![run_with("test", WAITING, "cargo test --workspace")]
}

fn e2e() -> Vec<Step> {
    let mut steps = vec![run_with("e2e-test", WAITING, "cargo test -p e2e"), release()];
    steps.extend(scenarios());
    steps
}

/// The programs as a user builds them.
fn release() -> Step {
    run("release", "cargo build --release")
}

/// The same, and a search decides whether a history is linearizable. The crates that it brings
/// change the features of others: after a build without it almost everything is built again.
fn release_with_search() -> Step {
    run("release", "cargo build --release --features bench/porcupine")
}

fn scenarios() -> Vec<Step> {
    let names = ["single", "test1", "test2", "test3", "test4"];
    names.map(|name| Step { name, what: Action::Scenario(name) }).into()
}

/// One build serves all: the switches that disable rules are off by default.
macro_rules! rules {
    ($($arguments:literal),*) => {
        concat!(
            "cargo test --release -p cluster --features mutations --test simulation --test model",
            $(" ", $arguments),*
        )
    };
}

/// Whole clusters in one thread, thousands of schedules; a small cluster in every state that it can
/// reach, as far as there is time. Then the same with rules taken away, which both must notice.
fn sim() -> Vec<Step> {
    const FAR: &[(&str, &str)] = &[("SIM_SEEDS", "4000"), ("MODEL_STATES", "300000")];
    vec![
        run("sim-build", rules!("--no-run")),
        run_with("sim", FAR, rules!("--", "--skip every_rule_taken_away")),
        run("mutants", rules!("--", "every_rule_taken_away")),
    ]
}

/// Real processes that are killed, stopped and cut off, every history checked; then with records on
/// disk, where every acknowledged write is looked for after a kill -9.
fn bench_smoke() -> Vec<Step> {
    let mut steps = vec![release_with_search()];
    steps.extend(histories());
    steps
}

fn histories() -> Vec<Step> {
    vec![
        run("chaos", "target/release/bench chaos --seconds 20 --seed 1"),
        run("crash", "target/release/bench crash --rounds 4 --kill fewer --seed 3"),
        run(
            "crash-sync",
            "target/release/bench crash --rounds 4 --kill all --durability sync --seed 3",
        ),
    ]
}

/// The tests wait most of the time; beside them the compiler and the rules have the processors. The
/// steps that run a cluster under faults have the processors to themselves.
fn ci() -> Vec<Step> {
    let mut front = vec![release_with_search()];
    front.extend(scenarios());
    front.extend(sim());
    let mut steps = check();
    steps.extend(docs());
    steps.push(run("test-build", "cargo test --workspace --no-run"));
    steps.push(Step { name: "tests-beside", what: Action::SideBySide { front, back: test() } });
    steps.extend(histories());
    steps
}

fn soak() -> Vec<Step> {
    const SEEDS: &[(&str, &str)] = &[("SIM_SEEDS", "40000")];
    /// No bound but the time for each setup, and memory: about 100 bytes a state.
    const NO_BOUND: &[(&str, &str)] = &[("MODEL_STATES", "1000000000"), ("MODEL_SECONDS", "600")];
    const PIPELINES: &[(&str, &str)] = &[("GTSTORE_TEST_PIPELINES", "1000000")];
    vec![
        release_with_search(),
        run("sim-build", rules!("--no-run")),
        run_with("sim-long", SEEDS, rules!("--", "every_seed")),
        run_with("sim-mutants-long", SEEDS, rules!("--", "every_rule_taken_away")),
        run_with("model-long", NO_BOUND, rules!("--", "--skip every_")),
        run_with("pipelines", PIPELINES, "cargo test --release -p storage folding"),
        run("chaos-1", "target/release/bench chaos --seconds 600 --seed 1"),
        run("chaos-2", "target/release/bench chaos --seconds 600 --seed 2"),
        run("chaos-3", "target/release/bench chaos --seconds 600 --seed 3"),
        run("crash-fewer", "target/release/bench crash --rounds 40 --kill fewer --seed 3"),
        run("crash-all", "target/release/bench crash --rounds 40 --kill all --seed 3"),
        run(
            "crash-all-sync",
            "target/release/bench crash --rounds 40 --kill all --durability sync --seed 3",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names of a task's steps, those that run side by side among them.
    fn names(steps: &[Step]) -> BTreeSet<&'static str> {
        let inner = |step: &Step| match &step.what {
            Action::SideBySide { front, back } => &names(front) | &names(back),
            _ => BTreeSet::from([step.name]),
        };
        steps.iter().flat_map(inner).collect()
    }

    #[test]
    fn every_task_is_found_by_its_name_alone() {
        let different: BTreeSet<_> = TASKS.iter().map(|task| task.name).collect();
        assert_eq!(different.len(), TASKS.len());
        for task in TASKS {
            assert_eq!(find(task.name).map(|found| found.name), Some(task.name));
            assert!(list().contains(task.about));
        }
        assert!(find("nothing").is_none());
    }

    #[test]
    fn ci_has_the_steps_of_the_others() {
        let has = names(&ci());
        for task in TASKS.iter().filter(|task| !["ci", "soak"].contains(&task.name)) {
            // `test` has those of e2e, and all others.
            let wants = names(&(task.steps)()).into_iter().filter(|name| *name != "e2e-test");
            for name in wants {
                assert!(has.contains(name), "{name} of {}", task.name);
            }
        }
    }

    #[test]
    fn ci_runs_the_test_command_of_the_readme() {
        let commands: Vec<&str> = test()
            .iter()
            .filter_map(
                |step| if let Action::Run(line) = &step.what { Some(line.words) } else { None },
            )
            .collect();
        let readme = include_str!("../../../README.md");
        let command = readme.lines().find(|line| line.starts_with("cargo test"));
        let command = command.and_then(|line| line.split('#').next()).map(str::trim);
        assert_eq!(commands, [command.expect("README.md has a line with it")]);
        assert!(names(&ci()).contains("test"));
    }
}
