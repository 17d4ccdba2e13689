//! The commands of the golden scripts, one function each. What they mean is in the table of [`super`].

use goldenscript::ArgumentConsumer;

use super::super::sim::Disk;
use super::*;

impl Script {
    /// A new cluster.
    pub(super) fn settings(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let arcs = args.take_key("arcs").unwrap_or("8").parse()?;
        let copies = args.take_key("copies").unwrap_or("2").parse()?;
        let limits = Limits::default();
        let rebalance_ms = args.take_key("rebalance").unwrap_or("300000").parse()?;
        let settings = Settings {
            heartbeat_ms: HEARTBEAT,
            missed: 3,
            arcs,
            copies,
            limits,
            min_copies: 1,
            durability: args.take_key("durability").unwrap_or("async").parse()?,
            rebalance_ms,
            return_ms: 5_000,
        };
        self.sim = Some(Sim::new(settings));
        Ok(String::new())
    }

    /// A process starts or reconnects, and registers.
    pub(super) fn register(&mut self, first: &str, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let (name, n, life) = parts(first);
        let name = args.take_key("name").unwrap_or(&name).to_string();
        let port = args.take_key("port").map_or(Ok(6000 + n), str::parse)?;
        let incarnation =
            args.take_key("incarnation").map_or(Ok(u64::from(100 * life + n)), str::parse)?;
        let weight = args.take_key("weight").unwrap_or("1").parse()?;
        let on_disk = args.take_key("disk") == Some("yes");
        let folder = args.take_key("folder").map(str::to_string);
        let unreached = args.take_key("unreached").map(str::to_string);
        let sim = self.sim()?;
        if sim.nodes.get(first).is_none_or(|n| !n.alive) {
            sim.start(first, &name, incarnation, port, weight);
            let claim = folder.map(|line| sim.claim(&line, first)).transpose()?;
            let node = sim.nodes.get_mut(first).ok_or("no such node")?;
            node.who.on_disk = on_disk || claim.is_some();
            node.holdings =
                Holdings::new(node.who.id.clone(), node.who.incarnation).with_claim(claim.clone());
            node.claim = claim;
        }
        sim.nodes.get_mut(first).ok_or("no such node")?.unreached = unreached;
        let answered = sim.register(first);
        Ok(self.printed(first, answered))
    }

    /// Heartbeats, of nodes that adopt or fetch before if so ordered.
    pub(super) fn heartbeats(&mut self, command: &str, mut labels: Vec<String>) -> Outcome {
        if labels.is_empty() {
            labels = self.sim()?.in_reach();
        }
        let mut out = String::new();
        for label in labels {
            let sim = self.sim()?;
            match command {
                "ack" => sim.adopt(&label),
                "fetch" => sim.fetch(&label),
                _ => {}
            }
            // Its heartbeat is lost.
            if sim.nodes[&label].cut {
                continue;
            }
            let answered = sim.heartbeat(&label);
            out += &self.printed(&label, answered);
        }
        Ok(out)
    }

    /// Nothing gets through between nodes and the manager, or does again.
    pub(super) fn cut(&mut self, command: &str, labels: Vec<String>) -> Outcome {
        for label in labels {
            self.sim()?.nodes.get_mut(&label).ok_or("no such node")?.cut = command == "cut";
        }
        Ok(String::new())
    }

    /// What a node's heartbeats report of its disk and memory from here on.
    pub(super) fn ails(&mut self, first: &str, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let mut word = |key| args.take_key(key).unwrap_or_default().to_owned();
        let ails = Report {
            disk: match (word("trouble"), word("strain")) {
                (why, _) if !why.is_empty() => DiskHealth::Failing(why),
                (_, why) if !why.is_empty() => DiskHealth::Strained(why),
                _ => DiskHealth::Sound,
            },
            is_full: word("full") == "yes",
            ..Report::default()
        };
        self.sim()?.nodes.get_mut(first).ok_or("no such node")?.ails = ails;
        let answered = self.sim()?.heartbeat(first);
        Ok(self.printed(first, answered))
    }

    /// Processes end; their connections and ports show it.
    pub(super) fn kill(&mut self, labels: Vec<String>) -> Outcome {
        let mut out = String::new();
        for label in labels {
            self.sim()?.nodes.get_mut(&label).ok_or("no such node")?.alive = false;
            let answered = self.sim()?.disconnect(&label);
            out += &self.printed(&label, answered);
            let answered = self.sim()?.gone(&label);
            out += &self.printed(&label, answered);
        }
        Ok(out)
    }

    /// The operator accepts what is lost.
    pub(super) fn accept_loss(&mut self, first: &str) -> Outcome {
        let sim = self.sim()?;
        if first != "seen" {
            sim.look();
        }
        let answered = sim.accept_loss();
        Ok(self.printed("operator", answered))
    }

    /// The operator goes on with a data folder that waits.
    pub(super) fn adopt(&mut self, first: &str) -> Outcome {
        let sim = self.sim()?;
        let who = sim.nodes.get(first).ok_or("no such node")?.who.clone();
        let event = Event::AdoptFolder { id: who.id, start: who.incarnation };
        let answered = sim.step(event);
        Ok(self.printed("operator", answered))
    }

    /// The operator orders other limits.
    pub(super) fn limits(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let mut limit = |name: &'static str| args.take_key(name).map(str::parse).transpose();
        let change = Reconfiguration::Limits { key: limit("key")?, value: limit("value")? };
        let answered =
            self.sim()?.step(Event::Command(AdminCommand::Reconfigure { change, force: false }));
        Ok(self.printed("operator", answered))
    }

    /// What a node has measured as its longest key and value.
    pub(super) fn hold(&mut self, first: &str, labels: &[String]) -> Outcome {
        let longest = match &labels[1..] {
            [key, value] => Some(Limits { key_bytes: key.parse()?, value_bytes: value.parse()? }),
            _ => None,
        };
        self.sim()?.nodes.get_mut(first).ok_or("no such node")?.longest = longest;
        Ok(String::new())
    }

    /// The operator orders a change, or cancels one.
    pub(super) fn admin_command(&mut self, command: &str, labels: &[String]) -> Outcome {
        let order = match order(command, labels)? {
            Some((change, force)) => AdminCommand::Reconfigure { change, force },
            None => AdminCommand::Cancel,
        };
        let answered = self.sim()?.step(Event::Command(order));
        Ok(self.printed("operator", answered))
    }

    /// What a change would move.
    pub(super) fn outline(&mut self, first: &str, labels: &[String]) -> Outcome {
        let (change, force) = order(first, &labels[1..])?.ok_or("nothing to look at")?;
        let sim = self.sim()?;
        Ok(match sim.manager().outline(sim.now, &change, force) {
            Ok(outline) => outlined(&outline),
            Err(why) => format!("{why}\n"),
        })
    }

    /// The manager ends and starts again.
    pub(super) fn restart(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        if let Some(ms) = args.take_key("heartbeat") {
            self.sim()?.settings.heartbeat_ms = ms.parse()?;
        }
        self.sim()?.restart(false);
        self.seen = Epoch::NONE;
        Ok(String::new())
    }

    /// The manager starts from a copy of what it saved.
    pub(super) fn restart_from_copy(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome {
        let accepts = args.take_key("accepts").map(str::parse).transpose()?;
        let shown = args.take_key("shown").map(str::parse).transpose()?;
        let epoch = Epoch(accepts.or(shown).unwrap_or(0));
        self.sim()?.restart_from_copy(epoch, accepts.is_some());
        self.seen = Epoch::NONE;
        Ok(String::new())
    }

    /// What becomes of the manager's saves.
    pub(super) fn disk(&mut self, first: &str) -> Outcome {
        let sim = self.sim()?;
        sim.disk = match first {
            "works" => Disk::Works,
            "holds" => Disk::Holds,
            "fails" => Disk::Fails,
            other => return Err(format!("no such disk: {other}").into()),
        };
        Ok(String::new())
    }

    /// A heartbeat, and the lease that it extends.
    pub(super) fn lease(&mut self, first: &str) -> Outcome {
        let (answer, effects) = self.sim()?.heartbeat(first);
        let lease = match &answer {
            Answer::Known { lease: Some(USUAL_LEASE), .. } => ", and a lease".into(),
            Answer::Known { lease: Some(ms), .. } => format!(", and a lease of {ms} ms"),
            _ => ", and no lease".into(),
        };
        Ok(self.printed(first, (answer, effects)).replacen('\n', &format!("{lease}\n"), 1))
    }
}
