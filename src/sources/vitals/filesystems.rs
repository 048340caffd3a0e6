//! How full the file systems are, from `/proc/self/mountinfo` and statvfs(3).
//!
//! ```text
//! 24 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw
//! 27 24 179:1 / /boot/firmware rw,relatime shared:14 - vfat /dev/mmcblk0p1 rw,…
//! id parent device root mount-point options tags… - type source options
//! ```
//!
//! Documentation/filesystems/proc.rst 3.5; space, tab, newline and backslash
//! are `\040`, `\011`, `\012` and `\134`. A device is told once, wherever else
//! it is bound to. The mount point becomes one level: `/boot/firmware` is
//! `boot_firmware`, and `/` is `root`.
//!
//! *Used* is what is not free. *Use* is as df(1) has it: used by used +
//! available, where what is kept for the administrator (5 % on ext4) is not
//! available; it is 100 % when programs can write no more.
//!
//! The mount points are those that this process sees, and asked as they stand
//! there, whatever the root is that the other files are read from.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{
    file::TextFile,
    names::Names,
    rounded,
    space::{Asker, Askers, MAX_THREADS, Space, Statvfs},
};
use crate::{
    sources::Readings,
    telemetry::{BootTime, Channel},
};

/// Where people and programs keep their data. Left out are those in memory,
/// those of the kernel itself, and those that are full by nature (squashfs,
/// erofs, iso9660).
#[rustfmt::skip] // A list by meaning, not a word a line.
const KINDS: [&str; 36] = [
    // On a device of this board.
    "ext2", "ext3", "ext4", "btrfs", "xfs", "f2fs", "jfs", "nilfs2", "bcachefs", "zfs",
    "reiserfs", "vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfs", "hfsplus", "ubifs",
    "jffs2", "yaffs2",
    // On the network, or the host of a virtual machine.
    "nfs", "nfs4", "cifs", "smb3", "afs", "ceph", "9p", "virtiofs", "fuse.sshfs", "fuse.rclone",
    "fuse.glusterfs", "fuse.s3fs", "fuse.mergerfs", "fuse.curlftpfs",
];

/// The shortest time between two looks. Room changes slowly, and on a network
/// every question is a message.
const BETWEEN: Duration = Duration::from_millis(500);

/// Of a level made from a mount point: `Names` counts on levels that are not
/// cut any further when a number is put behind them.
const MAX_LEVEL: usize = 36;

/// Reads `/proc/self/mountinfo` and asks for the room at each mount point.
#[derive(Debug)]
pub(super) struct Filesystems {
    file: TextFile,
    askers: Askers,
    names: Names<String>,
    /// By mount point.
    mounted: BTreeMap<String, Mounted>,
    /// When it was last looked which there are.
    looked: Option<BootTime>,
    /// Why that could not be read.
    unread: Option<String>,
}

#[derive(Debug)]
struct Mounted {
    device: String,
    asker: Result<Asker, String>,
}

impl Filesystems {
    pub(super) fn new(root: &Path, statvfs: Statvfs) -> Self {
        Self {
            file: TextFile::new(root, "proc/self/mountinfo"),
            askers: Askers::new(statvfs),
            names: Names::default(),
            mounted: BTreeMap::new(),
            looked: None,
            unread: None,
        }
    }

    /// Asks for the room, unless it did a moment ago. The answers of a healthy
    /// board are there by the time that the other files of this sample are read.
    pub(super) fn ask(&mut self, at: BootTime) {
        if self.looked.is_some_and(|looked| at.since(looked) < BETWEEN) {
            return;
        }
        self.looked = Some(at);
        self.unread = None;
        match self.file.parse(parse) {
            Some(Ok(mounts)) => self.update(mounts),
            Some(Err(reason)) => self.unread = Some(reason),
            None => self.update(BTreeMap::new()),
        }
        for asker in self.mounted.values_mut().filter_map(|mounted| mounted.asker.as_mut().ok()) {
            asker.ask(at);
        }
    }

    fn update(&mut self, mounts: BTreeMap<String, String>) {
        let mut old = std::mem::take(&mut self.mounted);
        for (point, device) in mounts.into_iter().take(MAX_THREADS) {
            let known = old.remove(&point).filter(|old| old.device == device && old.asker.is_ok());
            let start = || self.askers.start(Path::new(&point).to_owned());
            let mounted =
                known.unwrap_or_else(|| Mounted { device: device.clone(), asker: start() });
            self.mounted.insert(point, mounted);
        }
        let levels: Vec<_> = self.mounted.keys().map(|point| (point, level(point))).collect();
        self.names.update(levels.iter().map(|(point, level)| (*point, level.as_str())));
    }

    /// Whether each has answered, or is known not to.
    pub(super) fn settled(&mut self, at: BootTime) -> bool {
        let answered = |mounted: &mut Mounted| {
            mounted.asker.as_mut().map_or(true, |asker| asker.answer(at).is_some())
        };
        self.mounted.values_mut().all(answered)
    }

    /// Tells what is known by now.
    pub(super) fn sample(&mut self, at: BootTime, readings: &mut Readings) {
        for (point, mounted) in &mut self.mounted {
            let Some(level) = self.names.level(point) else { continue };
            let answer = match (&self.unread, &mut mounted.asker) {
                (Some(reason), _) => Some(Err(reason.clone())),
                (None, Ok(asker)) => {
                    let named = |why| format!("{}: {why}", shown(point));
                    asker.answer(at).map(|answer| answer.map_err(named))
                }
                (None, Err(why)) => Some(Err(format!("{}: {why}", shown(point)))),
            };
            match answer {
                Some(Ok(space)) => tell(level, point, &space, readings),
                Some(Err(reason)) => {
                    for figure in [USED, SIZE, USE] {
                        readings.fail(figure.of(level, point), &reason);
                    }
                }
                None => {}
            }
        }
    }
}

fn tell(level: &str, point: &str, space: &Space, readings: &mut Readings) {
    // Some in user space have no size to tell.
    if space.size == 0 {
        return;
    }
    let used = space.size.saturating_sub(space.free);
    let channel = USED.of(level, point).map(|channel| channel.range(0.0, space.size as f64));
    readings.push(channel, used);
    readings.push(SIZE.of(level, point), space.size);
    let writable = used.saturating_add(space.available);
    let share = if writable == 0 { 100.0 } else { used as f64 * 100.0 / writable as f64 };
    let channel = USE.of(level, point).map(|channel| channel.range(0.0, 100.0));
    readings.push(channel, rounded(share, 2));
}

/// A channel that every file system has.
#[derive(Clone, Copy)]
struct Figure {
    level: &'static str,
    unit: &'static str,
}

const USED: Figure = Figure { level: "used", unit: "B" };
const SIZE: Figure = Figure { level: "size", unit: "B" };
const USE: Figure = Figure { level: "use", unit: "%" };

impl Figure {
    fn of(self, level: &str, point: &str) -> crate::Result<Channel> {
        let channel = Channel::gauge(&format!("fs/{level}/{}", self.level))?;
        Ok(channel.unit(self.unit).label(format!("{} {}", shown(point), self.level)))
    }
}

fn level(point: &str) -> String {
    match point.trim_matches('/') {
        "" => "root".to_owned(),
        path => path.chars().take(MAX_LEVEL).collect(),
    }
}

/// A mount point for people: it may be 4 KiB long.
fn shown(point: &str) -> String {
    point.chars().take(60).collect()
}

/// One line.
#[derive(Debug)]
struct Mount {
    device: String,
    /// Which folder of the file system is mounted.
    root: String,
    point: String,
    kind: String,
}

/// Device by mount point, of those that are told.
fn parse(text: &str) -> Result<BTreeMap<String, String>, &'static str> {
    // What is mounted later hides what was mounted at the same place.
    let visible: BTreeMap<String, Mount> =
        text.lines().filter_map(parse_line).map(|mount| (mount.point.clone(), mount)).collect();
    if visible.is_empty() {
        return Err("no mounts");
    }
    let mut best: BTreeMap<&str, &Mount> = BTreeMap::new();
    for mount in visible.values().filter(|mount| is_told(mount)) {
        let best = best.entry(&mount.device).or_insert(mount);
        if rank(mount) < rank(best) {
            *best = mount;
        }
    }
    Ok(best.values().map(|mount| (mount.point.clone(), mount.device.clone())).collect())
}

fn is_told(mount: &Mount) -> bool {
    // An overlay is the root of containers and of boards whose card is
    // read-only; elsewhere it is one of many views of a disk that is told.
    KINDS.contains(&mount.kind.as_str()) || (mount.kind == "overlay" && mount.point == "/")
}

/// Of several mount points of a device the least is told: the root before all,
/// the whole file system before a folder of it, then the shortest.
fn rank(mount: &Mount) -> (bool, bool, usize) {
    (mount.point != "/", mount.root != "/", mount.point.len())
}

fn parse_line(line: &str) -> Option<Mount> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(2);
    Some(Mount {
        device: fields.next()?.to_owned(),
        root: unescaped(fields.next()?),
        point: unescaped(fields.next()?),
        kind: kind.split(' ').next()?.to_owned(),
    })
}

/// Octal escapes of ASCII characters (fs/proc_namespace.c, `mangle`).
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU32, Ordering},
            mpsc::{SyncSender, sync_channel},
        },
        thread,
        time::{Duration, Instant},
    };

    use super::{super::trees::*, *};

    /// Samples until `done`; the board's clock stands still meanwhile.
    fn sample_until(
        filesystems: &mut Filesystems,
        seconds: f64,
        done: impl Fn(&Readings) -> bool,
    ) -> Readings {
        let start = Instant::now();
        loop {
            filesystems.ask(at(seconds));
            let seen = readings(|r| filesystems.sample(at(seconds), r));
            if done(&seen) {
                return seen;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "waited in vain: {seen:?}");
            thread::yield_now();
        }
    }

    fn mounts(tree: &Tree, lines: &[&str]) {
        tree.write("proc/self/mountinfo", lines.join("\n") + "\n");
    }

    fn points(text: &str) -> Vec<String> {
        parse(text).expect("mounts").into_keys().collect()
    }

    #[test]
    fn the_file_systems_of_a_board_and_how_full_they_are() {
        let tree = Tree::board("pi-4");
        let mut filesystems = Filesystems::new(tree.root(), rooms());
        let seen = sample_until(&mut filesystems, 0.0, |seen| seen.iter().count() == 2 * 3);
        assert_numbers(
            &seen,
            &[
                ("fs/root/size", 30_000_000_000.0),
                ("fs/root/used", 12_000_000_000.0), // 30 - 18 GB
                ("fs/root/use", 42.86),             // 12 / (12 + 16)
                ("fs/boot_firmware/size", 500_000_000.0),
                ("fs/boot_firmware/used", 100_000_000.0), // 500 - 400 MB
                ("fs/boot_firmware/use", 20.0),           // 100 / (100 + 400)
            ],
        );
        let used = &reading(&seen, "fs/root/used").expect("it is there").channel;
        assert_eq!((used.unit.as_deref(), used.max), (Some("B"), Some(30_000_000_000.0)));
        assert_eq!(used.label.as_deref(), Some("/ used"));
    }

    #[test]
    fn a_dead_server_holds_up_nothing_and_is_asked_once() {
        let asked = Arc::new(AtomicU32::new(0));
        let (release, gate): (SyncSender<()>, _) = sync_channel(0);
        let (gate, count) = (Mutex::new(gate), asked.clone());
        let statvfs: Statvfs = Arc::new(move |path: &Path| {
            if path == Path::new("/mnt/nas") {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = gate.lock().expect("no panic").recv();
            }
            Ok(Space { size: 100, free: 75, available: 75 })
        });
        let tree = Tree::new();
        mounts(
            &tree,
            &["1 0 8:1 / / rw - ext4 /dev/sda1 rw", "2 1 0:50 / /mnt/nas rw - nfs4 n:/ rw"],
        );
        let mut filesystems = Filesystems::new(tree.root(), statvfs);
        let root = |seen: &Readings| seen.number("fs/root/use") == Some(25.0);
        let hangs = || asked.load(Ordering::SeqCst) == 1;
        let seen = sample_until(&mut filesystems, 1.0, |seen| root(seen) && hangs());
        assert!(reading(&seen, "fs/mnt_nas/used").is_none());
        // Every sample returns, for nobody has released the question.
        for seconds in [2.0, 3.0, 4.0, 60.0] {
            let seen = sample_until(&mut filesystems, seconds, root);
            let why = failure(&seen, "fs/mnt_nas/used");
            assert_eq!(why, (seconds >= 3.0).then_some("/mnt/nas: does not answer"));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        release.send(()).expect("it is asked");
        let back = |seen: &Readings| seen.number("fs/mnt_nas/used") == Some(25.0);
        sample_until(&mut filesystems, 61.0, back);
        // The server is gone again, and another file system takes its place.
        filesystems.ask(at(70.0));
        mounts(&tree, &["1 0 8:1 / / rw - ext4 /dev/sda1 rw", "2 1 8:2 / /mnt/nas rw - ext4 x rw"]);
        filesystems.ask(at(80.0));
        assert_eq!(failure(&readings(|r| filesystems.sample(at(80.0), r)), "fs/mnt_nas/use"), None);
        drop(release);
    }

    #[test]
    fn a_device_is_told_once_at_its_best_place() {
        let text = "\
            1 0 8:1 /@ / rw - btrfs /dev/sda1 rw\n\
            2 1 8:1 / /top rw - btrfs /dev/sda1 rw\n\
            3 1 8:1 /@home /home rw - btrfs /dev/sda1 rw\n\
            4 1 8:2 /data /srv rw - ext4 /dev/sda2 rw\n\
            5 1 8:2 / /media/disk rw - ext4 /dev/sda2 rw\n\
            6 1 8:3 /etc/hosts /etc/hosts rw - ext4 /dev/sda3 rw\n\
            7 1 8:3 /etc/host /etc/hostname rw - ext4 /dev/sda3 rw\n";
        assert_eq!(points(text), ["/", "/etc/hosts", "/media/disk"]);
    }

    #[test]
    fn what_is_no_place_for_data_is_left_out_and_what_is_hidden_too() {
        let text = "\
            1 0 0:2 / / rw - rootfs rootfs rw\n\
            2 1 0:30 / / rw - overlay overlay rw,lowerdir=/a\n\
            3 2 0:31 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n\
            4 2 0:5 / /dev rw - devtmpfs udev rw\n\
            5 2 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro\n\
            6 2 0:40 / /run/user/1000/gvfs rw - fuse.gvfsd-fuse gvfsd-fuse rw\n\
            7 2 0:41 / /mnt/pi rw - fuse.sshfs pi:/ rw\n\
            8 2 8:1 / /mnt/hidden rw - ext4 /dev/sda1 rw\n\
            9 2 0:42 / /mnt/hidden rw - tmpfs tmpfs rw\n\
            10 2 0:43 / /mnt/auto rw master:1 shared:2 - autofs systemd-1 rw\n\
            11 10 0:44 / /mnt/auto rw - nfs nas:/ rw\n";
        assert_eq!(points(text), ["/", "/mnt/auto", "/mnt/pi"]);
    }

    #[test]
    fn a_mount_point_is_one_level_and_its_escapes_are_undone() {
        assert_eq!(unescaped(r"/media/My\040Disk\134x\011"), "/media/My Disk\\x\t");
        for odd in [r"a\", r"a\0", r"a\04", r"a\999", r"a\400b", r"\é12", r"\+12"] {
            assert!(!unescaped(odd).is_empty(), "{odd}");
        }
        let tree = Tree::new();
        let long = "x".repeat(3000);
        mounts(
            &tree,
            &[
                "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
                "2 1 8:2 / /root rw - ext4 /dev/sda2 rw",
                r"3 1 8:3 / /media/My\040Disk rw - vfat /dev/sdb1 rw",
                &format!("4 1 8:4 / /{long}1 rw - ext4 /dev/sdc1 rw"),
                &format!("5 1 8:5 / /{long}2 rw - ext4 /dev/sdd1 rw"),
            ],
        );
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = asked.clone();
        let statvfs: Statvfs = Arc::new(move |path: &Path| {
            paths.lock().expect("no panic").push(path.to_owned());
            Ok(Space { size: 4, free: 4, available: 4 })
        });
        let mut filesystems = Filesystems::new(tree.root(), statvfs);
        let all = |seen: &Readings| seen.iter().count() == 5 * 3;
        let first = sample_until(&mut filesystems, 0.0, all);
        let used = names(&first).into_iter().filter_map(|name| name.strip_suffix("/used"));
        let levels: Vec<_> = used.filter_map(|name| name.strip_prefix("fs/")).collect();
        let cut = "x".repeat(MAX_LEVEL);
        assert_eq!(levels, ["root", "media_My_Disk", "root_2", &cut, &format!("{cut}_2")]);
        assert!(asked.lock().expect("no panic").contains(&"/media/My Disk".into()));
        // A level stays what it is.
        assert_eq!(names(&sample_until(&mut filesystems, 0.0, all)), names(&first));
        assert!(first.iter().all(|r| r.channel.label.as_ref().is_some_and(|l| l.len() < 70)));
    }

    #[test]
    fn an_empty_size_is_no_channel_and_a_full_one_is_100_percent() {
        let told = |size, free, available| {
            readings(|r| tell("x", "/x", &Space { size, free, available }, r)).number("fs/x/use")
        };
        assert_eq!(told(0, 0, 0), None);
        assert_eq!(told(10, 0, 0), Some(100.0));
        assert_eq!(told(10, 1, 0), Some(100.0));
        assert_eq!(told(10, 20, 10), Some(0.0));
        assert_eq!(told(u64::MAX, 0, u64::MAX), Some(100.0));
        assert_eq!(told(u64::MAX, u64::MAX, 0), Some(100.0));
    }

    #[test]
    fn an_error_fails_its_mount_point_and_names_it() {
        let tree = Tree::new();
        mounts(&tree, &["1 0 8:1 / /mnt/x rw - ext4 /dev/sda1 rw"]);
        let statvfs: Statvfs = Arc::new(|_: &Path| Err(io::ErrorKind::PermissionDenied.into()));
        let mut filesystems = Filesystems::new(tree.root(), statvfs);
        let seen = sample_until(&mut filesystems, 0.0, |seen| seen.iter().count() == 3);
        let why = failure(&seen, "fs/mnt_x/size").expect("it fails");
        assert!(why.starts_with("/mnt/x: permission denied"), "{why}");
    }

    #[test]
    fn mounts_that_cannot_be_read_fail_what_was_there() {
        let tree = Tree::new();
        let mut filesystems = Filesystems::new(tree.root(), rooms());
        for (round, bad) in ["", "\n", "garbage\n", "1 0 8:1 / - ext4\n"].into_iter().enumerate() {
            let second = (10 * round) as f64;
            tree.write("proc/self/mountinfo", bad);
            filesystems.ask(at(second));
            let before = readings(|r| filesystems.sample(at(second), r)).iter().count();
            mounts(&tree, &["1 0 8:1 / / rw - ext4 /dev/sda1 rw"]);
            let told = |seen: &Readings| seen.number("fs/root/use").is_some();
            sample_until(&mut filesystems, second + 1.0, told);
            tree.write("proc/self/mountinfo", bad);
            filesystems.ask(at(second + 2.0));
            let seen = readings(|r| filesystems.sample(at(second + 2.0), r));
            let why = failure(&seen, "fs/root/used").expect("it fails");
            assert!(why.contains("proc/self/mountinfo: "), "{why}");
            assert!(before == 0 || before == 3, "{bad:?}");
        }
        tree.remove("proc/self/mountinfo");
        filesystems.ask(at(99.0));
        assert_eq!(names(&readings(|r| filesystems.sample(at(99.0), r))), [""; 0]);
    }

    #[test]
    fn it_looks_twice_a_second_at_most() {
        let tree = Tree::new();
        let mut filesystems = Filesystems::new(tree.root(), rooms());
        filesystems.ask(at(1.0));
        mounts(&tree, &["1 0 8:1 / / rw - ext4 /dev/sda1 rw"]);
        filesystems.ask(at(1.49));
        assert_eq!(filesystems.mounted.len(), 0);
        filesystems.ask(at(1.5));
        assert_eq!(filesystems.mounted.len(), 1);
    }

    #[test]
    fn there_are_no_more_threads_than_told() {
        let tree = Tree::new();
        let lines: Vec<_> =
            (0..100).map(|n| format!("{n} 0 8:{n} / /mnt/{n} rw - ext4 /dev/sda{n} rw")).collect();
        mounts(&tree, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let mut filesystems = Filesystems::new(tree.root(), rooms());
        filesystems.ask(at(0.0));
        assert_eq!(filesystems.mounted.len(), MAX_THREADS);
        assert!(filesystems.mounted.values().all(|mounted| mounted.asker.is_ok()));
    }
}
