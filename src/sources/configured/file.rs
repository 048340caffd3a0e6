//! A file that is read every so often: a sysfs attribute, a file that a script
//! rewrites.
//!
//! The read itself may hang, on a bus that is stuck, for ever. So it is done by
//! a thread of its own, which holds nothing else; the source's thread asks it,
//! and says so when it does not answer.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use nix::libc;

use super::{RunningSource, feed::Feed, running::thread_name};
use crate::{
    fault,
    sources::{
        Intake,
        found::files::advice,
        inputs::Bell,
        isolated::ANSWER_WITHIN,
        sampler::{FAULT, next_deadline},
    },
    wire::line::MAX_DOCUMENT,
};

/// What the reading thread needs: an open file and a buffer on the heap.
const STACK: usize = 64 * 1024;
/// Of what is longer, only the lines at its head count, in bytes.
const MOST: u64 = MAX_DOCUMENT as u64;

/// Starts to read the file of this path.
pub(super) fn start(
    intake: Intake,
    feed: Feed,
    path: PathBuf,
    every: Duration,
) -> io::Result<RunningSource> {
    let file = path.clone();
    RunningSource::quick(intake, 1, move |bell| {
        let reader = Reader::start(feed.name(), bell.clone(), move || read(&file));
        let watched = Watched { path, every, answer_within: ANSWER_WITHIN };
        watched.run(reader, feed, bell);
    })
}

/// The text of a file, or a sentence that says why there is none.
type Text = Result<Vec<u8>, String>;

fn read(path: &Path) -> Text {
    let open = || {
        // A pipe that nobody writes to would hold up a plain open.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if file.metadata()?.file_type().is_fifo() {
            return Ok(None);
        }
        let mut text = Vec::new();
        file.take(MOST + 1).read_to_end(&mut text)?;
        Ok(Some(text))
    };
    match open() {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err("it is a pipe, which never is complete; write kind = \"command\", \
                         command = [\"cat\", …] instead"
            .into()),
        Err(error) => Err(advice(&error)),
    }
}

/// The thread that reads, when it is asked.
struct Reader {
    ask: SyncSender<()>,
    answer: Arc<Mutex<Option<Text>>>,
}

impl Reader {
    /// Starts it; it ends when it is next awake after this is dropped.
    fn start(
        source: &str,
        bell: Arc<Bell>,
        mut read: impl FnMut() -> Text + Send + 'static,
    ) -> io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let answer = Arc::<Mutex<Option<Text>>>::default();
        let place = answer.clone();
        let run = move || {
            for () in asked {
                let text = read();
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                bell.ring();
            }
        };
        fault::spawn(thread::Builder::new().name(thread_name(source)).stack_size(STACK), run)?;
        Ok(Self { ask, answer })
    }

    fn answer(&self) -> Option<Text> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How a file is read.
struct Watched {
    path: PathBuf,
    every: Duration,
    answer_within: Duration,
}

impl Watched {
    fn run(&self, reader: io::Result<Reader>, mut feed: Feed, bell: &Bell) {
        let reader = match reader {
            Ok(reader) => reader,
            Err(error) => return feed.fail(&format!("no thread for it: {error}")),
        };
        let mut due = Instant::now();
        loop {
            if reader.ask.send(()).is_err() {
                return feed.fail(FAULT);
            }
            let Some(text) = self.wait(&reader, &mut feed, bell) else { return };
            match text {
                Ok(text) => self.take(&text, &mut feed),
                Err(why) => self.fail(&why, &mut feed),
            }
            due = next_deadline(due, self.every, Instant::now());
            if !feed.sleep(due, bell) {
                return;
            }
        }
    }

    /// Waits for what was read; `None` when the source is to stop.
    fn wait(&self, reader: &Reader, feed: &mut Feed, bell: &Bell) -> Option<Text> {
        let late = Instant::now() + self.answer_within;
        let mut told = false;
        loop {
            if let Some(text) = reader.answer() {
                return Some(text);
            }
            let left = late.saturating_duration_since(Instant::now());
            if left.is_zero() && !std::mem::replace(&mut told, true) {
                let limit = self.answer_within.as_secs();
                let why = format!("no answer for more than {limit} s; its device may be stuck");
                self.fail(&why, feed);
            }
            let rest = feed.settle().into_iter().chain((!told).then_some(left)).min();
            if !bell.wait(&[], rest, &mut Vec::new()) {
                return None;
            }
        }
    }

    /// An empty file says nothing: it may be about to be written.
    fn take(&self, text: &[u8], feed: &mut Feed) {
        feed.take(text);
        if text.len() as u64 > MOST {
            feed.cut();
        } else {
            feed.finish();
        }
        if let Some(why) = feed.verdict() {
            self.fail(&why, feed);
        }
    }

    fn fail(&self, why: &str, feed: &mut Feed) {
        feed.fail(&format!("{}: {why}", self.path.display()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{
        sources::configured::Format,
        telemetry::{ChannelName, Hub, HubSettings, Status},
    };

    fn status(hub: &Hub) -> Option<(Status, Option<f64>)> {
        let view = hub.view();
        let state = view.channels().iter().find(|state| state.status != Status::Gone)?;
        Some((state.status.clone(), state.value.as_f64()))
    }

    #[track_caller]
    fn wait_for(hub: &Hub, done: impl Fn(&Status, Option<f64>) -> bool) {
        let start = Instant::now();
        while !status(hub).is_some_and(|(status, value)| done(&status, value)) {
            assert!(start.elapsed() < Duration::from_secs(10), "in vain: {:?}", status(hub));
            thread::yield_now();
        }
    }

    #[test]
    fn a_read_that_hangs_is_told_and_well_again_when_it_answers() {
        let hub = Hub::new(HubSettings::default());
        let intake = Intake::new(&hub, "soil");
        let format = Format::Value(ChannelName::new("soil/moisture").expect("a name"));
        let feed = Feed::new(intake.clone(), format).taken_whole(true);
        let (tell, told) = mpsc::channel::<&str>();
        let watched = Watched {
            path: "/sys/soil".into(),
            every: Duration::from_millis(1),
            answer_within: Duration::from_millis(50),
        };
        let running = RunningSource::quick(intake, 1, move |bell| {
            let read = move || told.recv().map(Into::into).map_err(|_| "gone".into());
            watched.run(Reader::start("soil", bell.clone(), read), feed, bell);
        });
        let running = running.expect("a thread");
        let hangs = |status: &Status| matches!(status, Status::Error(why) if why.starts_with("/sys/soil: no answer for more"));
        wait_for(&hub, |status, _| hangs(status));
        tell.send("41.5\n").expect("it reads");
        wait_for(&hub, |status, value| *status == Status::Ok && value == Some(41.5));
        wait_for(&hub, |status, value| hangs(status) && value == Some(41.5));
        // It hangs again, and nobody waits for it.
        let stopped = Instant::now();
        drop(running);
        assert!(stopped.elapsed() < Duration::from_secs(5));
        assert_eq!(status(&hub), None);
        tell.send("1").expect("it still hangs");
    }

    #[test]
    fn of_a_long_file_whole_lines_at_its_head_count() {
        let hub = Hub::new(HubSettings::default());
        let intake = Intake::new(&hub, "log");
        let mut feed = Feed::new(intake.clone(), Format::Lines);
        let path = std::env::temp_dir().join(format!("bc-long-{}", std::process::id()));
        // 65,537 bytes are read: 9362 lines of 7 bytes, and 3 bytes.
        std::fs::write(&path, "a=1234\n".repeat(20_000)).expect("written");
        let watched = Watched { path: path.clone(), every: SECOND, answer_within: SECOND };
        watched.take(&read(&path).expect("read"), &mut feed);
        let _ = std::fs::remove_file(&path);
        assert_eq!((intake.counts().lines.get(), intake.counts().bad_lines.get()), (9362, 0));
        assert_eq!(status(&hub), Some((Status::Ok, Some(1234.0))));
    }

    const SECOND: Duration = Duration::from_secs(1);
}
