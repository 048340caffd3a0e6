//! Which calls are to fail, and counting them.

use std::{
    cell::RefCell,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use nix::errno::Errno;

use super::Place;

impl Place {
    const ALL: [Self; 12] = [
        Self::Accept,
        Self::Read,
        Self::Write,
        Self::Poll,
        Self::Register,
        Self::Spawn,
        Self::Clock,
        Self::Worker,
        Self::Message,
        Self::History,
        Self::Landlock,
        Self::Sandbox,
    ];

    /// As `BOARDCAST_FAULT` says it.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_ascii_lowercase()
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum How {
    /// It fails in the one way that its place knows: a panic, mostly.
    Plain,
    /// It fails with this error.
    Fail(Errno),
    /// It takes one byte.
    Short,
    /// The wall clock jumps by so many seconds.
    Jump(f64),
}

/// One fault: which calls of a place, counted from 1, and what happens to them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    place: Place,
    first: usize,
    /// After how many calls it comes again; 0: never.
    every: usize,
    how: How,
}

impl Fault {
    #[cfg(test)]
    pub(super) fn nth(place: Place, number: usize, how: How) -> Self {
        Self { place, first: number, every: 0, how }
    }

    /// The first call of a place, and every so many calls one more.
    #[cfg(test)]
    pub(super) fn every(calls: usize, place: Place, how: How) -> Self {
        Self { place, first: 1, every: calls, how }
    }

    /// The same, when a number of calls has gone well.
    #[cfg(test)]
    pub(super) fn but_for(self, number: usize) -> Self {
        Self { first: self.first + number, ..self }
    }

    fn meets(&self, number: usize) -> bool {
        match self.every {
            0 => number == self.first,
            every => number >= self.first && (number - self.first) % every == 0,
        }
    }
}

/// `PLACE`, `PLACE:WHEN` or `PLACE:WHEN:HOW`. WHEN as strace(1) has it: `3` the
/// third call alone, `3+` from there on all, `3+10` every tenth from there on.
impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |what: &str, word: &str| format!("BOARDCAST_FAULT: {word:?} in {text:?} {what}");
        let mut words = text.split(':');
        let word = words.next().unwrap_or_default();
        let place = Place::ALL.into_iter().find(|place| place.name() == word);
        let place = place.ok_or_else(|| wrong("is no place", word))?;
        let when = words.next().unwrap_or("1+");
        let number = |word: &str| word.parse().ok().filter(|&number| number > 0);
        let (first, every) = match when.split_once('+') {
            None => (number(when), Some(0)),
            Some((first, "")) => (number(first), Some(1)),
            Some((first, every)) => (number(first), number(every)),
        };
        let (Some(first), Some(every)) = (first, every) else {
            return Err(wrong("is none of 3, 3+ and 3+10", when));
        };
        let how = match words.next() {
            None => match place {
                Place::Spawn => How::Fail(Errno::EAGAIN),
                _ => How::Plain,
            },
            Some("short") => How::Short,
            Some(word) if place == Place::Clock => {
                let seconds = word.parse().map_err(|_| wrong("is no time in seconds", word))?;
                How::Jump(seconds)
            }
            Some(word) => How::Fail(errno(word).ok_or_else(|| wrong("is no error", word))?),
        };
        Ok(Self { place, first, every, how })
    }
}

/// The error of this name, such as `EMFILE`.
fn errno(name: &str) -> Option<Errno> {
    (1..=133).map(Errno::from_raw).find(|errno| format!("{errno:?}") == name)
}

/// The faults of one engine, or of the whole program.
#[derive(Debug, Default)]
pub(super) struct Plan {
    faults: Vec<Fault>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    calls: [usize; Place::ALL.len()],
    struck: usize,
    wall_offset: f64,
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let faults = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { faults, counts: Mutex::default() })
    }
}

thread_local! {
    /// What is planted for this thread and those that it starts.
    static OWN: RefCell<Option<Arc<Plan>>> = const { RefCell::new(None) };
}

impl Plan {
    #[cfg(test)]
    pub(super) fn of<const N: usize>(faults: [Fault; N]) -> Arc<Self> {
        Arc::new(Self { faults: faults.into(), counts: Mutex::default() })
    }

    /// Plants this for the calling thread and those that come from it.
    #[cfg(test)]
    pub(super) fn plant(self: &Arc<Self>) {
        OWN.set(Some(self.clone()));
    }

    /// From now on nothing is planted for the calling thread.
    #[cfg(test)]
    pub(super) fn lift() {
        OWN.set(None);
    }

    /// How often the place was called that was called most often.
    #[cfg(test)]
    pub(super) fn most_calls(&self) -> usize {
        self.counts().calls.into_iter().max().unwrap_or(0)
    }

    /// How many calls have failed so far.
    #[cfg(test)]
    pub(super) fn struck(&self) -> usize {
        self.counts().struck
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&self, place: Place) -> Option<How> {
        let mut counts = self.counts();
        let calls = &mut counts.calls[place as usize];
        *calls += 1;
        let number = *calls;
        let mut faults = self.faults.iter().filter(|fault| fault.place == place);
        let how = faults.find(|fault| fault.meets(number))?.how;
        counts.struck += 1;
        Some(how)
    }

    fn wall_offset(&self) -> f64 {
        let jump = self.strike(Place::Clock);
        let mut counts = self.counts();
        if let Some(How::Jump(seconds)) = jump {
            counts.wall_offset += seconds;
        }
        counts.wall_offset
    }
}

/// What the environment asks for. Nonsense ends the program: a test that plants
/// nothing must not pass.
fn of_environment() -> Option<Arc<Plan>> {
    static PLAN: OnceLock<Option<Arc<Plan>>> = OnceLock::new();
    let read = || {
        let text = std::env::var("BOARDCAST_FAULT").ok()?;
        match text.parse() {
            Ok(plan) => Some(Arc::new(plan)),
            Err(why) => {
                eprintln!("boardcast: {why}");
                std::process::exit(2)
            }
        }
    };
    PLAN.get_or_init(read).clone()
}

fn with<T>(act: impl FnOnce(&Plan) -> T) -> Option<T> {
    // A thread that ends has its plan no more.
    let own = OWN.try_with(|own| own.borrow().clone()).ok().flatten();
    own.or_else(of_environment).as_deref().map(act)
}

/// A call of this place: what is to happen to it.
pub(super) fn strike(place: Place) -> Option<How> {
    with(|plan| plan.strike(place)).flatten()
}

/// By how much the wall clock is wrong by now.
pub(super) fn wall_offset() -> f64 {
    with(Plan::wall_offset).unwrap_or_default()
}

/// What a thread runs, with the plan of the one that starts it.
pub(super) fn handed_on<T>(run: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let plan = OWN.with_borrow(Clone::clone);
    move || {
        OWN.set(plan);
        run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(text: &str, place: Place) -> Vec<usize> {
        let plan: Plan = text.parse().expect("a plan");
        (1..=12).filter(|_| plan.strike(place).is_some()).collect()
    }

    #[test]
    fn a_plan_strikes_the_calls_that_it_names() {
        assert_eq!(struck("read:3:EIO", Place::Read), [3]);
        assert_eq!(struck("read:3:EIO", Place::Write), [0; 0]);
        assert_eq!(struck("read:11+:EIO", Place::Read), [11, 12]);
        assert_eq!(struck("read:1:EIO,read:4+4:short", Place::Read), [1, 4, 8, 12]);
        assert_eq!(struck("worker", Place::Worker).len(), 12);
    }

    #[test]
    fn errors_have_their_names_and_nonsense_is_told() {
        let fault: Fault = "accept:1:EMFILE".parse().expect("a fault");
        assert_eq!(fault, Fault::nth(Place::Accept, 1, How::Fail(Errno::EMFILE)));
        assert_eq!("spawn:2".parse::<Fault>().expect("a fault").how, How::Fail(Errno::EAGAIN));
        for nonsense in ["", "acept", "read:0", "read:x", "read:1+x", "read:1:EFOO", "clock:1:x"] {
            assert!(nonsense.parse::<Plan>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn the_wall_clock_stays_wrong_and_threads_inherit_the_plan() {
        let plan: Plan = "clock:2:+3600,clock:4:-60".parse().expect("a plan");
        Arc::new(plan).plant();
        let run = || [(); 4].map(|()| wall_offset());
        let thread = super::super::spawn(std::thread::Builder::new(), run).expect("a thread");
        assert_eq!(thread.join().expect("no panic"), [0.0, 3600.0, 3600.0, 3540.0]);
        assert_eq!(wall_offset(), 3540.0);
        Plan::lift();
    }
}
