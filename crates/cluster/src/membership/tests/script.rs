//! The runner of the golden scripts in `membership/scripts`, one rule a file.
//!
//! A node is called by a label: `node1` is node1's first process, `node1b` its second.
//!
//! | command | what happens |
//! |---|---|
//! | `settings copies=2 arcs=8 [rebalance=300000] [durability=async]` | a new cluster; heartbeats every 2,000 ms, out after 3 |
//! | `register LABEL [name=] [port=] [incarnation=] [weight=] [disk=yes] [folder=LABEL/…] [unreached=WHY]` | a process starts, or reconnects, and registers; with the folder that these starts have had, of which the first has written to it last; a process that dials it finds this |
//! | `beat LABEL…` | heartbeats that acknowledge nothing new |
//! | `ack [LABEL…]` | adopts the newest view it was sent, and a heartbeat (without labels: each in reach) |
//! | `fetch LABEL…` | fetches every arc it misses, and a heartbeat |
//! | `settle` | everybody in reach acks and fetches until nothing follows any more |
//! | `pass MS` | time passes with ticks; nodes in reach send their heartbeats |
//! | `stall MS` | time passes while the manager is stopped |
//! | `cut LABEL`, `mend LABEL` | nothing gets through to the manager and back, until mended |
//! | `kill LABEL` | the process ends; its connection and its port show it |
//! | `crash LABEL` | the process ends, and it has not been noticed yet |
//! | `disconnect LABEL`, `gone LABEL` | only the one event |
//! | `ails LABEL [trouble=] [strain=] [full=yes]` | what its heartbeats report of its disk and memory from here on, and one |
//! | `adopt LABEL` | the operator continues with the data folder with which this process waits |
//! | `look` | the operator looks at what is lost |
//! | `accept_loss`, `accept_loss seen` | the operator accepts what is lost, as it is now, or as it was seen |
//! | `leave NAME`, `weight NAME N`, `copies N`, each with `force` at the end or without | the operator orders a change |
//! | `terms MS N` | the operator orders other leases: a heartbeat every MS, out after N missed; `now`: as it is |
//! | `limits key=N value=N`, or one of them, `min_copies N` | the operator orders other settings |
//! | `hold LABEL KEY VALUE`, `hold LABEL` | its longest key and value are so long; it has not measured them |
//! | `cancel` | the operator cancels it |
//! | `outline leave NAME` (and so on) | what a change would move |
//! | `restart [heartbeat=MS]` | the manager ends and starts from what it saved, with other flags or the same; connections are lost |
//! | `copy` | a copy of what it saved is kept |
//! | `restart_from_copy [shown=EPOCH] [accepts=EPOCH]` | the manager ends and starts from that copy, of which an earlier start has shown that this view was seen; the operator continues with that |
//! | `lease LABEL` | as `beat`, and shows whether the lease was extended, and how long it is if that is not three heartbeats |
//! | `disk works`, `disk holds`, `disk fails` | what is to be saved is saved at once, or at `saved`, or not |
//! | `saved` | what is on its way to the disk has got there |
//! | `status` | the active view, the one being made, the nodes, the health |
//!
//! Answers are printed as `LABEL: …`, effects as they come. `UPDATE_GOLDENFILES=1 cargo test -p
//! cluster` writes the outputs anew: read the difference before you believe it. (A new script is
//! seen when this file is compiled again: touch it.)

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use goldenscript::{Command, Context, Runner};
use test_each_file::test_each_path;

use super::sim::Sim;
use crate::holdings::Holdings;
use crate::ids::{Epoch, Incarnation, NodeId};
use crate::limits::Limits;
use crate::membership::admin_command::{AdminCommand, Reconfiguration};
use crate::membership::outline::Outline;
use crate::membership::{Answer, DiskHealth, Effect, Event, Report, Settings};
use crate::time::Millis;
use crate::view::Routes;

mod commands;

test_each_path! { in "./crates/cluster/src/membership/scripts" as rules => run }

fn run(path: &Path) {
    goldenscript::run(&mut Script { sim: None, seen: Epoch::NONE }, path).expect("the script runs");
}

struct Script {
    sim: Option<Sim>,
    seen: Epoch,
}

const HEARTBEAT: Millis = 2_000;

/// Three of them.
const USUAL_LEASE: Millis = 6_000;

/// Ticks of the manager's monitor.
const TICK: Millis = 500;

impl Script {
    fn sim(&mut self) -> Result<&mut Sim, Box<dyn Error>> {
        self.sim.as_mut().ok_or_else(|| "a script begins with settings".into())
    }

    fn printed(&mut self, who: &str, (answer, effects): (Answer, Vec<Effect>)) -> String {
        let mut out = match answer {
            Answer::Done => String::new(),
            Answer::Known { newest, active, .. } if newest.epoch() == active => {
                format!("{who}: view {active}\n")
            }
            Answer::Known { newest, active, .. } => {
                format!("{who}: view {}, active is {active}\n", newest.epoch())
            }
            Answer::Unknown => format!("{who}: unknown\n"),
            Answer::Taken(why) => format!("{who}: taken, {why}\n"),
            Answer::Wait(why) => format!("{who}: wait, {why}\n"),
            Answer::Aside(why) => format!("{who}: aside, {why}\n"),
            Answer::Unreached(why) => format!("{who}: unreached, {why}\n"),
            Answer::Changed(now) => format!("{who}: changed, {now}\n"),
            Answer::Older(why) => format!("{who}: older, {why}\n"),
        };
        let sim = self.sim.as_ref().expect("there was an event");
        let mut pushed = String::new();
        for effect in &effects {
            if let Effect::Probe(to, _) = effect {
                if !pushed.starts_with("probe:") {
                    flush(&mut out, &mut pushed);
                    pushed = "probe:".into();
                }
                _ = write!(pushed, " {}", sim.label(*to));
                continue;
            }
            if let Effect::Push(to, routes, active) = effect {
                if !pushed.starts_with("push ") {
                    flush(&mut out, &mut pushed);
                    pushed = format!("push {}, active is {active}:", routes.epoch());
                }
                _ = write!(pushed, " {}", sim.label(*to));
                continue;
            }
            flush(&mut out, &mut pushed);
            _ = match effect {
                Effect::Save => writeln!(out, "save"),
                Effect::Publish(routes) => writeln!(out, "publish {}", routes.epoch()),
                Effect::Log(what) => writeln!(out, "say {what}"),
                Effect::FolderAdopted => writeln!(out, "folder adopted"),
                Effect::LossAccepted(arcs) => writeln!(out, "loss accepted: {arcs} arcs"),
                Effect::CommandOutcome(Ok(outline)) => {
                    out += &outlined(outline);
                    Ok(())
                }
                Effect::CommandOutcome(Err(why)) => writeln!(out, "told: {why}"),
                Effect::Stop(behind) => writeln!(out, "stop, {}", behind.what),
                Effect::Push(..) | Effect::Probe(..) => Ok(()),
            };
        }
        flush(&mut out, &mut pushed);
        out
    }

    fn pass(&mut self, time: Millis) -> Result<String, Box<dyn Error>> {
        let mut out = String::new();
        let end = self.sim()?.now + time;
        while self.sim()?.now < end {
            let sim = self.sim()?;
            sim.now = end.min(sim.now / TICK * TICK + TICK);
            let mut said = String::new();
            if sim.now.is_multiple_of(HEARTBEAT) {
                for label in sim.in_reach() {
                    if !self.sim()?.nodes[&label].registered {
                        continue;
                    }
                    let (answer, effects) = self.sim()?.heartbeat(&label);
                    let answer = match answer {
                        Answer::Known { .. } => Answer::Done,
                        other => other,
                    };
                    said += &self.printed(&label, (answer, effects));
                }
            }
            let ticked = self.sim()?.step(Event::Tick);
            said += &self.printed("", ticked);
            let now = self.sim()?.now;
            for line in said.lines() {
                _ = writeln!(out, "[{now}] {line}");
            }
        }
        Ok(out)
    }

    fn settle(&mut self) -> Result<String, Box<dyn Error>> {
        let mut out = String::new();
        for _ in 0..100 {
            let mut has_news = false;
            for label in self.sim()?.in_reach() {
                let sim = self.sim()?;
                let before =
                    (sim.nodes[&label].holdings.epoch(), sim.nodes[&label].holdings.missing());
                sim.adopt(&label);
                sim.fetch(&label);
                let after =
                    (sim.nodes[&label].holdings.epoch(), sim.nodes[&label].holdings.missing());
                let (_, effects) = sim.heartbeat(&label);
                has_news |= before != after || !effects.is_empty();
                out += &self.printed(&label, (Answer::Done, effects));
            }
            if !has_news {
                return Ok(out);
            }
        }
        Err("it does not settle".into())
    }

    fn shown(&mut self) -> Result<String, Box<dyn Error>> {
        let sim = self.sim()?;
        let Some(loss) = &sim.shown else { return Ok("nothing is lost\n".into()) };
        let labels =
            |of: &[Incarnation]| of.iter().map(|i| sim.label(*i)).collect::<Vec<_>>().join(" ");
        let (without, with) = (labels(&loss.without), labels(&loss.with));
        let (arcs, empty) = (&loss.arcs, &loss.empty);
        Ok(format!(
            "view {}: {arcs:?} lost, {empty:?} to begin empty, without [{without}], with [{with}]\n",
            loss.epoch
        ))
    }

    fn status(&mut self) -> Result<String, Box<dyn Error>> {
        let sim = self.sim()?;
        let manager = sim.manager();
        let mut out = view_line(manager.active());
        if manager.newest().epoch() > manager.active().epoch() {
            _ = write!(out, "being made: {}", view_line(manager.newest()));
        }
        for node in manager.nodes() {
            let label = sim.label(node.who.incarnation);
            _ = writeln!(out, "{label} {}", manager.state_of(node, sim.now));
        }
        for folder in manager.waiting_folders() {
            _ = writeln!(out, "{folder}");
        }
        let (refused, unreached) = (manager.refused_writes(sim.now), manager.unreached());
        _ = writeln!(out, "{}{refused}{unreached}", manager.health(sim.now));
        Ok(out)
    }
}

fn flush(out: &mut String, pushed: &mut String) {
    if !pushed.is_empty() {
        _ = writeln!(out, "{pushed}");
        pushed.clear();
    }
}

/// `view 2: 1 2 +3, arcs 1212 → 1232`: the members by their last letter, `+` before one that joins,
/// `-` before one that leaves.
fn view_line(routes: &Routes) -> String {
    let view = routes.view();
    let letter = |place: &u16| view.members[usize::from(*place)].id.as_str().chars().last();
    let mut out = format!("view {}:", view.epoch);
    for (place, member) in (0u16..).zip(&view.members) {
        let sign = match member.state {
            crate::view::MemberState::Joining => "+",
            crate::view::MemberState::Active => "",
            crate::view::MemberState::Leaving => "-",
        };
        _ = write!(out, " {sign}{}", letter(&place).unwrap_or('?'));
    }
    _ = write!(out, ", arcs {}", view.arcs.iter().filter_map(letter).collect::<String>());
    if let Some(coming) = &view.coming {
        _ = write!(out, " → {}", coming.arcs.iter().filter_map(letter).collect::<String>());
        if coming.copies != view.copies {
            _ = write!(out, " in {} copies", coming.copies);
        }
    }
    for sole_holder in &view.sole_holders {
        let who = letter(&sole_holder.place).unwrap_or('?');
        _ = write!(out, ", {who} stays for {:?} since {}", sole_holder.arcs, sole_holder.since);
    }
    if !view.fresh.is_empty() {
        _ = write!(out, ", {} begin afresh", view.fresh.len());
    }
    out + "\n"
}

/// A change from a command and its arguments, and whether it is forced; `None` for `cancel`.
fn order(
    command: &str,
    args: &[String],
) -> Result<Option<(Reconfiguration, bool)>, Box<dyn Error>> {
    let arg = |at: usize| args.get(at).map(String::as_str).unwrap_or_default();
    let force = args.last().is_some_and(|last| last == "force");
    let change = match command {
        "leave" => Reconfiguration::Leave(NodeId::new(arg(0))?),
        "weight" => Reconfiguration::Weight(NodeId::new(arg(0))?, arg(1).parse()?),
        "copies" => Reconfiguration::Copies(arg(0).parse()?),
        "terms" => Reconfiguration::Terms {
            heartbeat_ms: arg(0).parse().ok(),
            missed: arg(1).parse().ok(),
        },
        "min_copies" => Reconfiguration::MinCopies(arg(0).parse()?),
        "cancel" => return Ok(None),
        other => return Err(format!("no such change: {other}").into()),
    };
    Ok(Some((change, force)))
}

/// `told: node3 leaving: 4 arcs, 8 copies move, 8 at least; node1 2→4 5→8 +3, …`: for each node the
/// arcs that it owns, those that it holds, and those that it fetches.
fn outlined(outline: &Outline) -> String {
    let Outline { what, arcs, moves, .. } = outline;
    let (copies, least) = (outline.copies(), outline.least());
    let mut out = format!("told: {what}: {arcs} arcs, {copies} copies move, {least} at least;");
    for m in moves {
        let (owns, keeps) = (m.owns, m.keeps);
        let fetches = m.fetches;
        _ = write!(out, " {} {}→{} {}→{} +{fetches}", m.id, owns.0, owns.1, keeps.0, keeps.1);
    }
    out + "\n"
}

/// `node1b` → the name `node1`, 1, and which process of it (1).
fn parts(label: &str) -> (String, u16, u16) {
    let name = label.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let name = if name.is_empty() { label } else { name };
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let life = label[name.len()..].bytes().next().map_or(0, |b| u16::from(b - b'a'));
    (name.to_string(), digits.parse().unwrap_or(0), life)
}

/// What a command prints.
type Outcome = Result<String, Box<dyn Error>>;

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let mut labels = Vec::new();
        while let Some(label) = args.next_pos() {
            labels.push(label.to_string());
        }
        let first = labels.first().cloned().unwrap_or_default();
        let out = match command.name.as_str() {
            "settings" => self.settings(&mut args)?,
            "register" => self.register(&first, &mut args)?,
            "beat" | "ack" | "fetch" => self.heartbeats(&command.name, labels)?,
            "settle" => self.settle()?,
            "pass" => self.pass(first.parse()?)?,
            "stall" => {
                self.sim()?.now += first.parse::<Millis>()?;
                String::new()
            }
            "cut" | "mend" => self.cut(&command.name, labels)?,
            "ails" => self.ails(&first, &mut args)?,
            "crash" => {
                self.sim()?.nodes.get_mut(&first).ok_or("no such node")?.alive = false;
                String::new()
            }
            "kill" => self.kill(labels)?,
            "disconnect" => {
                let answered = self.sim()?.disconnect(&first);
                self.printed(&first, answered)
            }
            "gone" => {
                let answered = self.sim()?.gone(&first);
                self.printed(&first, answered)
            }
            "accept_loss" => self.accept_loss(&first)?,
            "adopt" => self.adopt(&first)?,
            "look" => {
                self.sim()?.look();
                self.shown()?
            }
            "limits" => self.limits(&mut args)?,
            "hold" => self.hold(&first, &labels)?,
            "leave" | "weight" | "copies" | "min_copies" | "terms" | "cancel" => {
                self.admin_command(&command.name, &labels)?
            }
            "outline" => self.outline(&first, &labels)?,
            "restart" => self.restart(&mut args)?,
            "copy" => {
                self.sim()?.keep();
                String::new()
            }
            "restart_from_copy" => self.restart_from_copy(&mut args)?,
            "disk" => self.disk(&first)?,
            "saved" => {
                let effects = self.sim()?.saved();
                self.printed("", (Answer::Done, effects))
            }
            "lease" => self.lease(&first)?,
            "status" => self.status()?,
            name => return Err(format!("no such command: {name}").into()),
        };
        args.reject_next()?;
        Ok(out)
    }

    /// Epochs of the active view only go up, whatever the command.
    fn end_command(&mut self, _: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let active = self.sim()?.manager().active().epoch();
        assert!(active >= self.seen);
        self.seen = active;
        Ok(String::new())
    }
}
