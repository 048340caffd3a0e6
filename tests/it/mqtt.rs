//! The MQTT engine against a real Mosquitto.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use boardcast::mqtt::{
    self, Client, Incoming, Link, Options, Publication, Qos, Running, Secret, Status, Version, Will,
};

use crate::{
    broker::{Mosquitto, tool},
    fixture::wait_for,
};

/// What a client has heard and is to say.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) connected: usize,
    pub(crate) messages: Vec<(String, String, bool)>,
    pub(crate) subscribed: Vec<(String, Option<String>)>,
    pub(crate) acknowledged: u64,
    pub(crate) lost: Vec<String>,
    /// Topic and payload of what is to be published, in this order.
    pub(crate) to_say: std::collections::VecDeque<(String, String, Qos)>,
    /// The most that were on their way at once.
    pub(crate) most_awaited: u64,
    pub(crate) sent: u64,
}

/// A client that subscribes to one filter, notes all, and says what it is told.
pub(crate) struct Ear {
    pub(crate) heard: Arc<Mutex<Heard>>,
    pub(crate) filter: String,
    pub(crate) farewell: Option<String>,
}

impl Client for Ear {
    fn connected(&mut self, link: &mut Link<'_>) {
        self.heard.lock().expect("no panic").connected += 1;
        if !self.filter.is_empty() {
            link.subscribe(&self.filter, Qos::AtLeastOnce);
        }
    }

    fn ready(&mut self, link: &mut Link<'_>) -> Option<Instant> {
        let mut heard = self.heard.lock().expect("no panic");
        while link.has_room() {
            let Some((topic, payload, qos)) = heard.to_say.pop_front() else { break };
            let (half, rest) = payload.as_bytes().split_at(payload.len() / 2);
            let parts = [half, rest];
            let said =
                Publication { topic: &topic, payload: &parts, qos, retain: topic.ends_with('!') };
            if link.publish(&said) == Some(Qos::AtLeastOnce) {
                heard.sent += 1;
                heard.most_awaited = heard.most_awaited.max(heard.sent - heard.acknowledged);
            }
        }
        None
    }

    fn message(&mut self, _: &mut Link<'_>, message: Incoming<'_>) {
        let payload = String::from_utf8_lossy(message.payload).into_owned();
        let message = (message.topic.to_owned(), payload, message.retained);
        self.heard.lock().expect("no panic").messages.push(message);
    }

    fn subscribed(&mut self, filter: &str, outcome: Result<(), &str>) {
        let outcome = outcome.err().map(str::to_owned);
        self.heard.lock().expect("no panic").subscribed.push((filter.to_owned(), outcome));
    }

    fn acknowledged(&mut self, count: u64) {
        self.heard.lock().expect("no panic").acknowledged += count;
    }

    fn lost(&mut self, why: &str) {
        self.heard.lock().expect("no panic").lost.push(why.to_owned());
    }

    fn farewell(&mut self, link: &mut Link<'_>) {
        if let Some(topic) = &self.farewell {
            let payload = [&b"bye"[..]];
            let qos = Qos::AtMostOnce;
            link.publish(&Publication { topic, payload: &payload, qos, retain: true });
        }
    }
}

/// A connection, and what it hears.
pub(crate) struct Party {
    pub(crate) running: Running,
    pub(crate) heard: Arc<Mutex<Heard>>,
}

impl Party {
    pub(crate) fn start(options: Options, filter: &str) -> Self {
        Self::leaving(options, filter, None)
    }

    fn leaving(options: Options, filter: &str, farewell: Option<&str>) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let filter = filter.to_owned();
        let ear = Ear { heard: heard.clone(), filter, farewell: farewell.map(str::to_owned) };
        let running = mqtt::start(options, "bc-mqtt-test", ear).expect("started");
        Self { running, heard }
    }

    pub(crate) fn until<T>(&self, what: &str, mut get: impl FnMut(&mut Heard) -> Option<T>) -> T {
        wait_for(what, || {
            std::thread::sleep(Duration::from_millis(1));
            get(&mut self.heard.lock().expect("no panic"))
        })
    }

    pub(crate) fn until_subscribed(&self) {
        self.until("a subscription", |heard| (!heard.subscribed.is_empty()).then_some(()));
    }

    /// The status when it is no longer that of a first try.
    pub(crate) fn status(&self) -> Status {
        wait_for("a status", || {
            std::thread::sleep(Duration::from_millis(1));
            Some(self.running.status()).filter(|status| *status != Status::Connecting)
        })
    }

    fn say(&self, topic: &str, payload: &str, qos: Qos) {
        self.heard.lock().expect("no panic").to_say.push_back((topic.into(), payload.into(), qos));
        self.running.bell().ring();
    }
}

pub(crate) fn options(url: &str, id: &str) -> Options {
    Options::new(url.parse().expect("a broker"), id)
}

#[test]
fn readings_go_out_and_come_in_in_both_versions() {
    let broker = Mosquitto::start("");
    for version in [Version::V5, Version::V311] {
        let of = |id: &str| Options { version: Some(version), ..options(&broker.url(), id) };
        let ear = Party::start(of("ear"), "a/+/c");
        ear.until_subscribed();
        assert_eq!(ear.running.status(), Status::Connected(version));
        let mouth = Party::start(of("mouth"), "");
        mouth.say("a/0/c", "zero", Qos::AtMostOnce);
        mouth.say("a/1/c", "one", Qos::AtLeastOnce);
        mouth.say("a/no", "other", Qos::AtLeastOnce);
        mouth.say("a/+", "no topic", Qos::AtLeastOnce);
        let messages = ear.until("two messages", |heard| {
            (heard.messages.len() == 2).then(|| heard.messages.clone())
        });
        let message = |topic: &str, payload: &str| (topic.to_owned(), payload.to_owned(), false);
        assert_eq!(messages, [message("a/0/c", "zero"), message("a/1/c", "one")]);
        mouth.until("acknowledgements", |heard| (heard.acknowledged == 2).then_some(()));
        let counts = mouth.running.counts();
        assert_eq!((counts.sent, counts.refused, counts.connects), (3, 1, 1));
        assert_eq!(ear.running.counts().received, 2);
    }
}

#[test]
fn a_will_is_published_for_the_dead_and_not_for_those_who_leave() {
    let broker = Mosquitto::start("");
    let ear = Party::start(options(&broker.url(), "ear"), "state/#");
    ear.until_subscribed();
    let will = Will {
        topic: "state/will".into(),
        payload: b"dead".to_vec(),
        qos: Qos::AtLeastOnce,
        retain: true,
    };
    let with_will = Options { will: Some(will), ..options(&broker.url(), "one") };
    let leaving = Party::leaving(with_will.clone(), "", Some("state/bye"));
    assert!(leaving.status().is_connected());
    drop(leaving);
    let first = ear.until("a farewell", |heard| heard.messages.first().cloned());
    assert_eq!((&*first.0, &*first.1), ("state/bye", "bye"));
    // One that is taken over is lost: the same client id.
    let lost = Party::start(with_will, "");
    assert!(lost.status().is_connected());
    let other = Party::start(options(&broker.url(), "one"), "");
    let second = ear.until("the will", |heard| heard.messages.get(1).cloned());
    assert_eq!((&*second.0, &*second.1), ("state/will", "dead"));
    // Mosquitto 2.0.11 just hangs up; MQTT 5 has a word for it.
    let why = lost.until("the reason", |heard| heard.lost.first().cloned());
    assert!(why.contains("same client id") || why.contains("closed"), "{why}");
    drop(other);
}

#[test]
fn a_broker_that_is_killed_is_found_again_and_what_is_retained_is_marked() {
    let mut broker = Mosquitto::start("");
    broker.publish(&["-t", "kept", "-m", "old", "-r"]);
    let ear = Party::start(options(&broker.url(), "ear"), "#");
    let first = ear.until("a message", |heard| heard.messages.first().cloned());
    assert_eq!(first, ("kept".into(), "old".into(), true));
    broker.kill();
    let why = ear.until("the loss", |heard| heard.lost.first().cloned());
    assert!(why.contains("closed the connection") || why.contains("broke"), "{why}");
    let why = ear.until("a try in vain", |heard| heard.lost.get(1).cloned());
    assert_eq!(why, "nobody listens there; is the broker running?");
    assert_eq!(ear.running.status(), Status::Failed(why));
    broker.start_again();
    ear.until("a second connection", |heard| (heard.subscribed.len() == 2).then_some(()));
    broker.publish(&["-t", "new", "-m", "news", "-q", "1"]);
    let second = ear.until("news", |heard| heard.messages.get(1).cloned());
    assert_eq!(second, ("new".into(), "news".into(), false));
    let counts = ear.running.counts();
    assert!(counts.connects == 2 && counts.failures >= 2, "{counts:?}");
}

#[test]
fn who_has_no_right_is_told_what_to_check() {
    let folder = std::env::temp_dir().join(format!("bc-mqtt-users-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let passwords = folder.join("passwords");
    let made = Command::new(tool("bin", "mosquitto_passwd"))
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["me", "s3cret"])
        .output()
        .expect("mosquitto_passwd starts");
    assert!(made.status.success(), "{made:?}");
    let rights = folder.join("rights");
    fs::write(&rights, "user me\ntopic read fine\n").expect("written");
    let lines = format!(
        "allow_anonymous false\npassword_file {}\nacl_file {}",
        passwords.display(),
        rights.display()
    );
    let broker = Mosquitto::start(&lines);
    let at = broker.url().replace("//", "//me@");
    for version in [Version::V5, Version::V311] {
        let of = |url: &str, id: &str| Options { version: Some(version), ..options(url, id) };
        for (url, password) in [(&broker.url(), None), (&at, Some("wrong")), (&at, None)] {
            let password = password.map(Secret::new);
            let party = Party::start(Options { password, ..of(url, "x") }, "");
            let status = party.status().to_string();
            assert!(status.contains("refuses") && status.contains("password"), "{status}");
            assert!(!status.contains("wrong ("), "{status}");
        }
        let password = Some(Secret::new("s3cret"));
        let party = Party::start(Options { password, ..of(&at, "y") }, "fine");
        assert_eq!(party.status(), Status::Connected(version));
        party.until_subscribed();
        // The broker says yes to every filter here, and hands out what it may;
        // what it may not be told, it refuses (MQTT 5 alone says so).
        party.say("no/right", "x", Qos::AtLeastOnce);
        party.until("the answer", |heard| (heard.acknowledged == 1).then_some(()));
        let refused = u64::from(version == Version::V5);
        wait_for("the count", || (party.running.counts().refused == refused).then_some(()));
    }
    let _ = fs::remove_dir_all(folder);
}

/// A certificate for 127.0.0.1 as its own authority, and its key.
#[cfg(feature = "tls")]
fn certificate(folder: &std::path::Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) =
        (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=test", "-addext"])
        .args(["subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "{made:?}");
    (certificate, key)
}

#[cfg(feature = "tls")]
#[test]
fn tls_takes_the_authority_that_is_named_and_no_other() {
    let folder = std::env::temp_dir().join(format!("bc-mqtt-tls-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let (right, key) = certificate(&folder, "right");
    let (wrong, _) = certificate(&folder, "wrong");
    let lines = format!("certfile {}\nkeyfile {}", right.display(), key.display());
    let broker = Mosquitto::start(&lines);
    let secure = format!("mqtts://127.0.0.1:{}", broker.port());
    let with = |authority: &PathBuf| {
        let authority = Some(authority.clone());
        Party::start(Options { authority, ..options(&secure, "tls") }, "#")
    };
    let party = with(&right);
    party.until_subscribed();
    assert_eq!(party.status(), Status::Connected(Version::V5));
    party.say("over/tls", &"x".repeat(100_000), Qos::AtLeastOnce);
    let message = party.until("its message", |heard| heard.messages.first().cloned());
    assert_eq!(message.1.len(), 100_000);
    let status = with(&wrong).status().to_string();
    assert!(status.contains("certificate"), "{status}");
    let status = with(&folder.join("none")).status().to_string();
    assert!(status.contains("none has no certificates"), "{status}");
    // Without TLS at a port that has it.
    let plain = Party::start(options(&broker.url(), "plain"), "");
    let status = plain.status().to_string();
    assert!(status.contains("MQTT port"), "{status}");
    let _ = fs::remove_dir_all(folder);
}
