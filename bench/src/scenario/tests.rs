//! Each scenario on a store that is right, and on stores that are not.

use super::*;
use crate::target::fake::{Fake, PlantedFault};

const ALL: [Scenario; 5] =
    [Scenario::Single, Scenario::Test1, Scenario::Test2, Scenario::Test3, Scenario::Test4];

/// Lets a store be shared as if each client had its own.
impl<T: StoreTarget> StoreTarget for &T {
    fn run(&self, ops: &[client::Op<'_>]) -> Vec<Result<client::Done, ClientError>> {
        (**self).run(ops)
    }

    fn put(&self, key: &str, value: &str) -> Result<client::Placed, ClientError> {
        (**self).put(key, value)
    }

    fn put_list(&self, key: &str, list: &[&str]) -> Result<client::Placed, ClientError> {
        (**self).put_list(key, list)
    }

    fn get(&self, key: &str) -> Result<Option<client::Got>, ClientError> {
        (**self).get(key)
    }

    fn get_list(&self, key: &str) -> Result<Option<Vec<String>>, ClientError> {
        (**self).get_list(key)
    }
}

fn play_on(scenario: Scenario, fault: PlantedFault) -> (String, Result<(), ScenarioError>) {
    let ClusterShape { nodes, copies } = scenario.shape();
    let store = Fake::new(nodes, copies, fault);
    let mut out = Vec::new();
    let outcome = play(scenario, || Ok(&store), &store, 1, &mut out);
    (String::from_utf8(out).expect("text"), outcome)
}

#[test]
fn a_correct_store_passes_all_scenarios() {
    for scenario in ALL {
        let (out, outcome) = play_on(scenario, PlantedFault::None);
        outcome.unwrap_or_else(|error| panic!("{scenario:?}: {error}\n{out}"));
    }
}

#[test]
fn steps_are_printed_as_the_client_command_prints_them() {
    let (out, _) = play_on(Scenario::Test1, PlantedFault::None);
    assert_eq!(
        out,
        "OK, node1\nkey1, value1, node1\nOK, node1\nOK, node1\nOK, node1\n\
         key1, value2, node1\nkey2, value3, node1\nkey3, value4, node1\n"
    );
    let (out, _) = play_on(Scenario::Single, PlantedFault::None);
    assert!(out.contains("client1, phone,phone_case, node"), "{out}");
    assert_eq!(out.lines().count(), 6);
}

#[test]
fn every_planted_fault_is_noticed() {
    use Scenario::*;
    for (fault, scenarios, want) in [
        (PlantedFault::KeepsFirst, &[Test1, Test2, Test3, Test4][..], "was put last"),
        (PlantedFault::TooFewCopies, &ALL, "the cluster keeps"),
        (PlantedFault::LosesTheKilled, &[Test3, Test4], "is not there"),
        (PlantedFault::RollsBack, &[Test3, Test4], "was put last"),
        (PlantedFault::Undead, &[Test3, Test4], "which was killed"),
        (PlantedFault::FailsWrites, &[Test3], "not enough replicas"),
    ] {
        for &scenario in scenarios {
            let (out, outcome) = play_on(scenario, fault);
            let error = outcome.expect_err(&format!("{scenario:?}, {fault:?}: {out}")).to_string();
            assert!(error.contains(want), "{scenario:?}, {fault:?}: {error}");
        }
    }
}

#[test]
fn names_are_parsed() {
    for (name, scenario) in Scenario::NAMES.split(", ").zip(ALL) {
        assert_eq!(name.parse(), Ok(scenario));
    }
    assert!("test5".parse::<Scenario>().is_err());
}
