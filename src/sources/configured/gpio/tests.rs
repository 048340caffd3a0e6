//! A scripted kernel, and gpio-sim where there is one.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Instant,
};

use nix::{
    errno::Errno,
    sys::eventfd::{EfdFlags, EventFd},
};

use super::{
    super::{Bias, Format},
    kernel::Info,
    *,
};
use crate::telemetry::{ChannelState, Clock, HubSettings, Status};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// Both clocks: the board slept for an hour, so boot time is ahead.
const ASLEEP: Duration = Duration::from_secs(3600);

/// The chips that there are, and the time.
#[derive(Debug, Default)]
struct Script {
    chips: BTreeMap<String, FakeChip>,
    /// CLOCK_MONOTONIC.
    now: Duration,
    wishes: Vec<(Vec<u32>, Wish)>,
}

#[derive(Debug, Default)]
struct FakeChip {
    lines: Vec<FakeLine>,
    /// What opening it says, if that fails.
    refuses: Option<Errno>,
    /// What requesting says.
    refuses_requests: Option<Errno>,
    edges: Vec<Edge>,
    seqno: u32,
    unplugged: bool,
    bell: Option<Arc<EventFd>>,
}

#[derive(Debug, Default)]
struct FakeLine {
    info: Info,
    on: bool,
}

/// A handle to the script: the kernel, its clock, and the hub's.
#[derive(Clone, Debug, Default)]
struct Fake(Arc<Mutex<Script>>);

impl Fake {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().expect("no test panicked with it")
    }

    /// With a chip whose lines have these names.
    fn with(self, chip: &str, names: &[&str]) -> Self {
        let line = |name: &&str| FakeLine {
            info: Info { name: (*name).into(), ..Info::default() },
            on: false,
        };
        let chip_of = FakeChip { lines: names.iter().map(line).collect(), ..FakeChip::default() };
        self.script().chips.insert(chip.into(), chip_of);
        self
    }

    fn change(&self, chip: &str, change: impl FnOnce(&mut FakeChip)) {
        change(self.script().chips.get_mut(chip).expect("the chip"));
    }

    fn pass(&self, time: Duration) {
        self.script().now += time;
    }

    /// An edge now.
    fn edge(&self, chip: &str, offset: u32, on: bool) {
        let mut script = self.script();
        let at = script.now;
        let chip = script.chips.get_mut(chip).expect("the chip");
        chip.seqno += 1;
        chip.lines[offset as usize].on = on;
        let seqno = chip.seqno;
        chip.edges.push(Edge { at, offset, on, seqno });
        if let Some(bell) = &chip.bell {
            bell.write(1).expect("it has room");
        }
    }
}

impl Clock for Fake {
    fn boot(&self) -> BootTime {
        BootTime::new(self.script().now + ASLEEP)
    }
    fn wall(&self) -> f64 {
        0.0
    }
    fn synced(&self) -> bool {
        true
    }
}

impl Kernel for Fake {
    type Chip = (Self, String);

    fn chips(&self) -> Vec<String> {
        self.script().chips.keys().cloned().collect()
    }

    fn open(&self, chip: &str) -> io::Result<Self::Chip> {
        match self.script().chips.get(chip).map(|chip| chip.refuses) {
            Some(None) => Ok((self.clone(), chip.into())),
            Some(Some(errno)) => Err(errno.into()),
            None => Err(Errno::ENOENT.into()),
        }
    }

    fn now(&self) -> Duration {
        self.script().now
    }
}

impl Chip for (Fake, String) {
    type Request = FakeRequest;

    fn lines(&self) -> io::Result<u32> {
        Ok(self.0.script().chips[&self.1].lines.len() as u32)
    }

    fn line(&self, offset: u32) -> io::Result<Info> {
        Ok(self.0.script().chips[&self.1].lines[offset as usize].info.clone())
    }

    fn request(&self, offsets: &[u32], wish: &Wish) -> io::Result<FakeRequest> {
        let mut script = self.0.script();
        script.wishes.push((offsets.to_vec(), wish.clone()));
        let chip = script.chips.get_mut(&self.1).expect("the chip");
        if let Some(errno) = chip.refuses_requests {
            return Err(errno.into());
        }
        let used = |offset: &u32| chip.lines[*offset as usize].info.used;
        let twice = |number| offsets[..number].contains(&offsets[number]);
        if offsets.iter().any(used) || (0..offsets.len()).any(twice) {
            return Err(Errno::EBUSY.into());
        }
        offsets.iter().for_each(|offset| chip.lines[*offset as usize].info.used = true);
        chip.seqno = 0;
        let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).expect("a descriptor");
        let bell = Arc::new(bell);
        chip.bell = Some(bell.clone());
        Ok(FakeRequest { chip: self.clone(), offsets: offsets.to_vec(), bell })
    }
}

struct FakeRequest {
    chip: (Fake, String),
    offsets: Vec<u32>,
    bell: Arc<EventFd>,
}

impl Request for FakeRequest {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn values(&self) -> io::Result<u64> {
        let script = self.chip.0.script();
        let lines = &script.chips[&self.chip.1].lines;
        let bits = self.offsets.iter().enumerate();
        Ok(bits.map(|(bit, offset)| u64::from(lines[*offset as usize].on) << bit).sum())
    }

    fn edges(&mut self, edges: &mut Vec<Edge>) -> io::Result<()> {
        let _ = self.bell.read();
        let mut script = self.chip.0.script();
        let chip = script.chips.get_mut(&self.chip.1).ok_or(Errno::ENODEV)?;
        let (ours, others) =
            chip.edges.drain(..).partition(|edge| self.offsets.contains(&edge.offset));
        chip.edges = others;
        edges.extend::<Vec<_>>(ours);
        if chip.unplugged { Err(Errno::ENODEV.into()) } else { Ok(()) }
    }
}

impl Drop for FakeRequest {
    fn drop(&mut self) {
        let mut script = self.chip.0.script();
        let Some(chip) = script.chips.get_mut(&self.chip.1) else { return };
        for offset in &self.offsets {
            chip.lines[*offset as usize].info.used = false;
        }
    }
}

fn settings(lines: &[(&str, &str)]) -> SourceSettings {
    let named =
        |(name, line): &(&str, &str)| (ChannelName::new(name).expect("a name"), (*line).to_owned());
    SourceSettings {
        name: "doors".into(),
        kind: Kind::Gpio {
            lines: lines.iter().map(named).collect(),
            bias: Some(Bias::PullUp),
            active_low: true,
            debounce: MILLI * 5,
        },
        format: Format::Lines,
        prefix: None,
        stale_after: None,
    }
}

/// Watched lines on a fake kernel, after a first try.
struct World {
    fake: Fake,
    hub: Hub,
    watched: Watched<Fake>,
}

impl World {
    fn new(fake: Fake, lines: &[(&str, &str)]) -> Self {
        fake.pass(SECOND * 100);
        let settings_of_hub = HubSettings { ring_bytes: 8 << 20, ..HubSettings::default() };
        let hub = Hub::with_clock(settings_of_hub, Arc::new(fake.clone()));
        let mut watched =
            Watched::new(&hub, &settings(lines), fake.clone()).expect("it can be made");
        watched.settle();
        Self { fake, hub, watched }
    }

    fn state(&self, name: &str) -> ChannelState {
        let view = self.hub.view();
        let mut states = view.channels().iter();
        states.find(|state| state.channel.name.as_str() == name).expect("the channel").clone()
    }

    fn error(&self, name: &str) -> String {
        match self.state(name).status {
            Status::Error(why) => why.to_string(),
            other => panic!("{name} is {other:?}"),
        }
    }

    fn value(&self, name: &str) -> Value {
        let state = self.state(name);
        assert_eq!(state.status, Status::Ok, "{name}");
        state.value
    }

    fn look(&mut self) -> bool {
        let ready = vec![true; self.watched.held.len()];
        self.watched.look(&ready)
    }

    fn batches(&self) -> Vec<Batch> {
        let view = self.hub.view();
        (1..=view.seq()).map(|seq| view.batch(seq).expect("the ring is large").clone()).collect()
    }
}

#[test]
fn a_place_is_a_name_or_a_chip_and_a_number() {
    let on = |chip: &str, offset| Place::On { chip: chip.into(), offset };
    assert_eq!(Place::new("gpiochip0:17"), on("gpiochip0", 17));
    for name in ["GPIO17", "gpiochip0", "gpiochip0:", "gpiochip:1", "PA:3", "gpiochip0:x", ""] {
        assert_eq!(Place::new(name), Place::Named(name.into()));
    }
}

#[test]
fn lines_are_found_asked_for_together_and_shown_as_they_are() {
    let fake =
        Fake::default().with("gpiochip0", &["A", "GPIO17", "C"]).with("gpiochip1", &["", "X"]);
    fake.change("gpiochip0", |chip| chip.lines[1].on = true);
    let lines = [("door", "GPIO17"), ("c", "gpiochip0:2"), ("nameless", "gpiochip1:0")];
    let world = World::new(fake, &lines);
    assert_eq!(world.value("door"), Value::Bool(true));
    assert_eq!(world.value("c"), Value::Bool(false));
    assert_eq!(world.state("c").channel.label.as_deref(), Some("C"));
    assert_eq!(world.state("nameless").channel.label.as_deref(), Some("gpiochip1:0"));
    assert_eq!(world.state("door").channel.kind, crate::telemetry::Kind::State);
    let wish = Wish { bias: Some(Bias::PullUp), active_low: true, debounce: MILLI * 5 };
    let wishes = vec![(vec![1, 2], wish.clone()), (vec![0], wish)];
    assert_eq!(world.fake.script().wishes, wishes);
    assert_eq!(world.watched.due, None, "nothing is left to be tried");
}

#[test]
fn edges_that_come_together_are_rows_with_the_kernels_instants() {
    let fake = Fake::default().with("gpiochip0", &["A", "B"]).with("gpiochip1", &["C"]);
    let mut world = World::new(fake, &[("a", "A"), ("b", "B"), ("c", "C")]);
    let fake = world.fake.clone();
    fake.pass(SECOND);
    let start = fake.boot();
    fake.edge("gpiochip0", 0, true);
    fake.pass(MILLI);
    fake.edge("gpiochip1", 0, true);
    fake.pass(MILLI);
    fake.edge("gpiochip0", 0, false);
    fake.pass(MILLI * 50);
    let before = world.batches().len();
    assert!(world.look());
    let batches = world.batches();
    assert_eq!(batches.len(), before + 1);
    let batch = &batches[before];
    assert_eq!(batch.start(), start);
    assert_eq!(batch.offsets().collect::<Vec<_>>(), [Duration::ZERO, MILLI, MILLI * 2]);
    let columns: Vec<_> = batch.columns().collect();
    let states = |states: [bool; 3]| states.map(Value::from);
    let (a, c) = (world.state("a").id, world.state("c").id);
    assert_eq!(columns[0], (a, &states([true, true, false])[..]));
    assert_eq!(columns[1], (c, &states([false, true, true])[..]));
    assert_eq!(columns.len(), 2, "b has not changed");
    assert!(!world.look());
}

#[test]
fn stamps_that_cannot_be_do_not_break_the_order() {
    let mut world = World::new(Fake::default().with("gpiochip0", &["A"]), &[("a", "A")]);
    let fake = world.fake.clone();
    fake.pass(SECOND);
    let now = fake.now();
    let stamps = [now + SECOND * 1000, now - MILLI, Duration::ZERO, Duration::MAX, now];
    fake.change("gpiochip0", |chip| {
        for (seqno, at) in (1..).zip(stamps) {
            chip.edges.push(Edge { at, offset: 0, on: seqno % 2 == 1, seqno });
        }
        // A line that nobody asked for.
        chip.edges.push(Edge { at: now, offset: 9, on: true, seqno: 6 });
    });
    // Only the same chip's lines are asked: the fake filters, the reader must, too.
    world.watched.held[0].request.offsets.push(9);
    fake.change("gpiochip0", |chip| chip.lines.resize_with(10, FakeLine::default));
    assert!(world.look());
    let instants: Vec<BootTime> = world
        .batches()
        .iter()
        .flat_map(|batch| batch.offsets().map(|offset| batch.start() + offset).collect::<Vec<_>>())
        .collect();
    assert!(instants.is_sorted(), "{instants:?}");
    assert!(instants.iter().all(|at| *at <= fake.boot()), "{instants:?}");
    // The one at zero is older than the state that was read first.
    assert_eq!(instants.len(), 1 + 4);
}

#[test]
fn after_lost_edges_the_states_are_read_anew() {
    let mut world =
        World::new(Fake::default().with("gpiochip0", &["A", "B"]), &[("a", "A"), ("b", "B")]);
    let fake = world.fake.clone();
    fake.pass(SECOND);
    fake.edge("gpiochip0", 0, true);
    // Of b's edges none is left.
    fake.change("gpiochip0", |chip| {
        chip.seqno += 300;
        chip.lines[1].on = true;
    });
    fake.edge("gpiochip0", 0, false);
    assert!(world.look());
    assert_eq!(world.watched.lost, 300);
    assert_eq!((world.value("a"), world.value("b")), (Value::Bool(false), Value::Bool(true)));
    let complained = world.watched.complained;
    fake.pass(SECOND);
    fake.change("gpiochip0", |chip| chip.seqno += 1);
    fake.edge("gpiochip0", 1, false);
    world.look();
    assert_eq!((world.watched.lost, world.watched.complained), (301, complained), "said once");
    assert_eq!(world.value("b"), Value::Bool(false));
}

#[test]
fn what_cannot_be_had_says_why_and_costs_no_other() {
    let fake = Fake::default().with("gpiochip0", &["A", "B", "C"]);
    fake.change("gpiochip0", |chip| {
        chip.lines[1].info.used = true;
        chip.lines[1].info.consumer = "led0".into();
    });
    let lines = [
        ("a", "A"),
        ("busy", "B"),
        ("none", "GPIO99"),
        ("beyond", "gpiochip0:3"),
        ("chip", "gpiochip7:1"),
        ("twice", "A"),
    ];
    let world = World::new(fake, &lines);
    assert_eq!(world.value("a"), Value::Bool(false));
    assert!(world.error("busy").starts_with("\"led0\" has this line"), "{}", world.error("busy"));
    assert!(world.error("none").contains("gpioinfo"), "{}", world.error("none"));
    assert_eq!(world.error("beyond"), "gpiochip0 has lines 0 to 2, no line 3");
    assert_eq!(world.error("chip"), "there is no gpiochip7; there are gpiochip0");
    assert!(world.error("twice").contains("another program"), "{}", world.error("twice"));
}

#[test]
fn a_board_without_chips_or_rights_says_so() {
    let world = World::new(Fake::default(), &[("a", "A"), ("b", "gpiochip0:1")]);
    assert!(world.error("a").contains("no GPIO chip") && world.error("b").contains("no GPIO chip"));
    for (errno, mend) in
        [(Errno::EACCES, "group"), (Errno::EPERM, "DeviceAllow"), (Errno::ENOTTY, "no GPIO chip")]
    {
        let fake = Fake::default().with("gpiochip0", &["A"]);
        fake.change("gpiochip0", |chip| chip.refuses = Some(errno));
        let world = World::new(fake, &[("a", "A"), ("b", "gpiochip0:0")]);
        for name in ["a", "b"] {
            let why = world.error(name);
            assert!(why.contains(mend) && why.starts_with("/dev/gpiochip0: "), "{why}");
        }
    }
    let fake = Fake::default().with("gpiochip0", &["A"]);
    fake.change("gpiochip0", |chip| chip.refuses_requests = Some(Errno::EINVAL));
    let world = World::new(fake, &[("a", "A")]);
    assert!(world.error("a").contains("bias"), "{}", world.error("a"));
}

#[test]
fn it_is_tried_later_and_later_until_it_works() {
    let fake = Fake::default().with("gpiochip0", &["A"]);
    fake.change("gpiochip0", |chip| chip.refuses = Some(Errno::EACCES));
    let mut world = World::new(fake, &[("a", "A")]);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let wait = world.watched.settle().expect("something is left to be tried");
        waits.push(wait.as_secs());
        world.fake.pass(wait);
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    world.fake.change("gpiochip0", |chip| chip.refuses = None);
    assert_eq!(world.watched.settle(), None);
    assert_eq!(world.value("a"), Value::Bool(false));
}

#[test]
fn a_chip_that_is_unplugged_costs_its_lines_until_it_is_back() {
    let fake = Fake::default().with("gpiochip0", &["A"]).with("gpiochip1", &["B", "C"]);
    let mut world = World::new(fake, &[("b", "B"), ("a", "A"), ("c", "C")]);
    let fake = world.fake.clone();
    fake.pass(SECOND);
    fake.edge("gpiochip1", 0, true);
    fake.change("gpiochip1", |chip| chip.unplugged = true);
    assert!(world.look());
    for name in ["b", "c"] {
        assert!(world.error(name).contains("plug it in again"), "{}", world.error(name));
    }
    assert_eq!(world.state("b").value, Value::Bool(true), "its last edge came before");
    fake.script().chips.remove("gpiochip1");
    let wait = world.watched.settle().expect("it is tried again");
    assert_eq!(wait, SECOND * 5);
    fake.pass(wait);
    world.watched.settle();
    fake.edge("gpiochip0", 0, true);
    world.look();
    assert_eq!(world.value("a"), Value::Bool(true), "the other goes on");
    let fake = fake.with("gpiochip2", &["B", "C"]);
    fake.pass(SECOND * 60);
    assert_eq!(world.watched.settle(), None, "found by name on whichever chip it is now");
    assert_eq!(world.value("b"), Value::Bool(false));
}

#[test]
fn a_flood_of_edges_becomes_bounded_batches() {
    let names: Vec<String> = (0..64).map(|number| format!("L{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let lines: Vec<_> = names.iter().map(|name| (*name, *name)).collect();
    let mut world = World::new(Fake::default().with("gpiochip0", &names), &lines);
    for number in 0..1024 {
        world.fake.pass(Duration::from_micros(1));
        world.fake.edge("gpiochip0", number % 64, number / 64 % 2 == 0);
    }
    assert!(world.look());
    let batches = world.batches();
    assert_eq!(batches[1..].iter().map(Batch::rows).sum::<usize>(), 1024);
    assert!(batches.iter().all(|batch| batch.rows() * batch.len() <= MAX_VALUES));
    assert!(names.iter().all(|name| world.value(name) == Value::Bool(false)));
}

#[test]
fn a_name_may_have_levels_before_it_and_a_bad_one_is_an_error() {
    let hub = Hub::new(HubSettings::default());
    let with = SourceSettings {
        prefix: Some(ChannelName::new("house").expect("a name")),
        stale_after: Some(SECOND),
        ..settings(&[("door", "A")])
    };
    let watched = Watched::new(&hub, &with, Fake::default()).expect("it can be made");
    let channel = hub.view().channels()[0].channel.clone();
    assert_eq!((channel.name.as_str(), channel.stale_after), ("house/door", Some(SECOND)));
    drop(watched);
    let deep = ChannelName::new("a/b/c/d/e/f/g/h").expect("a name");
    let deep = SourceSettings { prefix: Some(deep), ..settings(&[("door", "A")]) };
    assert!(Watched::new(&hub, &deep, Fake::default()).is_err());
}

/// Waits for a condition.
#[track_caller]
fn wait_for(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < SECOND * 20, "in vain for {what}");
        thread::yield_now();
    }
}

fn latest(hub: &Hub, name: &str) -> Option<Value> {
    let view = hub.view();
    let mut states = view.channels().iter();
    let state = states.find(|state| state.channel.name.as_str() == name)?;
    (state.status == Status::Ok).then(|| state.value.clone())
}

#[test]
fn its_thread_is_woken_by_an_edge_and_ends_when_it_is_dropped() {
    let fake = Fake::default().with("gpiochip0", &["A"]);
    let hub = Hub::new(HubSettings::default());
    let watched = Watched::new(&hub, &settings(&[("a", "A")]), fake.clone()).expect("made");
    let input = Input::start("bc-src-doors", 2, move |bell| watched.run(bell)).expect("a thread");
    wait_for("its state", || latest(&hub, "a") == Some(Value::Bool(false)));
    for on in [true, false, true] {
        fake.pass(MILLI);
        fake.edge("gpiochip0", 0, on);
        wait_for("an edge", || latest(&hub, "a") == Some(Value::Bool(on)));
    }
    drop(input);
    assert_eq!(hub.view().channels()[0].status, Status::Gone);
    assert!(!fake.script().chips["gpiochip0"].lines[0].info.used, "it let go of the line");
}

#[test]
fn without_a_chip_the_real_one_starts_says_why_and_ends() {
    let tree = crate::sources::vitals::trees::Tree::new();
    let hub = Hub::new(HubSettings::default());
    let input = start(&hub, &settings(&[("a", "GPIO17")]), tree.root()).expect("a thread");
    let failed = || matches!(&hub.view().channels()[0].status, Status::Error(why) if why.contains("no GPIO"));
    wait_for("its reason", failed);
    drop(input);
    let other = SourceSettings {
        kind: Kind::Tcp { address: "localhost:1".into() },
        ..settings(&[("a", "A")])
    };
    assert!(start(&hub, &other, tree.root()).is_err());
}

/// A chip of gpio-sim (Documentation/admin-guide/gpio/gpio-sim.rst), which
/// needs root and the module.
struct Simulated(std::path::PathBuf);

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("live"), "0");
        for folder in ["bank0/line1", "bank0", ""] {
            let _ = fs::remove_dir(self.0.join(folder));
        }
    }
}

#[test]
fn with_the_kernels_own_simulated_chip() {
    let folder = Path::new("/sys/kernel/config/gpio-sim");
    if !folder.is_dir() {
        eprintln!("skipped: no {} (modprobe gpio-sim)", folder.display());
        return;
    }
    let chip = Simulated(folder.join(format!("boardcast-{}", std::process::id())));
    fs::create_dir_all(chip.0.join("bank0/line1")).expect("made");
    fs::write(chip.0.join("bank0/num_lines"), "4").expect("written");
    fs::write(chip.0.join("bank0/line1/name"), "boardcast-test").expect("written");
    fs::write(chip.0.join("live"), "1").expect("written");
    let read = |file: &str| fs::read_to_string(chip.0.join(file)).expect("read").trim().to_owned();
    let (device, bank) = (read("dev_name"), read("bank0/chip_name"));
    let pull = format!("/sys/devices/platform/{device}/{bank}/sim_gpio1/pull");
    let hub = Hub::new(HubSettings::default());
    let mut settings = settings(&[("door", "boardcast-test")]);
    if let Kind::Gpio { bias, active_low, debounce, .. } = &mut settings.kind {
        (*bias, *active_low, *debounce) = (None, false, Duration::ZERO);
    }
    let input = start(&hub, &settings, Path::new("/")).expect("a thread");
    wait_for("its state", || latest(&hub, "door") == Some(Value::Bool(false)));
    for (to, on) in [("pull-up", true), ("pull-down", false)] {
        let before = hub.clock().boot();
        fs::write(&pull, to).expect("written");
        wait_for(to, || latest(&hub, "door") == Some(Value::Bool(on)));
        let at = hub.view().channels()[0].at;
        assert!(before.since(at) < SECOND && at <= hub.clock().boot(), "{at:?}");
    }
    drop(input);
}
