//! The root file system of an arena.
//!
//! All that is written lands in one tmpfs, the store, which is no longer mounted anywhere once the root is
//! built: only the agent reaches it, through its working directory.
//!
//! ```text
//! root/      the root directory itself, with /run, /tmp and /dev
//! upper/N    what was written to the N-th overlay of a host directory
//! work/N     overlayfs's own
//! fresh/N    a directory that starts empty, mounted over the host's
//! coverage   what plugins that were built with coverage count, mounted where they are told to write it
//! ballast    something, so that the store can be bounded to what it holds
//! ```

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;

use super::counters;
use super::error::Refusal;
use super::sys;
use super::{ArenaConfig, NETNS_DIR, PLUGIN_DIR};

/// Where the store is mounted while the root is built. Every host has the directory, and nothing of the
/// host's is needed from it: the arena mounts its own sysfs.
const STORE: &str = "/sys";

/// Top-level directories that are not the host's.
const OWN: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// Host directories that start empty.
const EMPTY: [&str; 2] = ["/etc/cni", "/var/lib/cni"];

/// Devices that are there.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "net/tun"];

/// A file of the store that no path of the arena leads to.
const BALLAST: &str = "ballast";

/// A directory with many entries below which something is mounted is bound as it is, read-only.
const MOST_ENTRIES: usize = 512;

/// A part of the store, and where it is seen inside the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// Path inside the arena.
    pub(super) seen_at: PathBuf,
    /// Path relative to the store.
    pub(super) directory: PathBuf,
    /// It is the upper layer of an overlay: character devices 0:0 in it stand for removed files.
    pub(super) overlay: bool,
}

type Result<T> = std::result::Result<T, Refusal>;

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> Refusal {
    let what = what.into();
    move |error| Refusal::io(what, &error)
}

fn refused(what: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Refusal {
    let what = what.into();
    move |errno| Refusal::io(what, &errno.into())
}

struct Builder<'a> {
    config: &'a ArenaConfig,
    /// Where the host has mounts; sorted.
    mounts: BTreeSet<PathBuf>,
    /// Directories that must exist inside whatever the host has.
    needed: Vec<PathBuf>,
    layers: Vec<Layer>,
    count: usize,
}

/// Builds the root, moves into it and leaves the working directory at the store.
pub(super) fn build(config: &ArenaConfig) -> Result<Vec<Layer>> {
    mount(none(), "/", none(), MsFlags::MS_REC | MsFlags::MS_PRIVATE, none())
        .map_err(refused("make all mounts private"))?;
    let mounts = mounts()?;
    let options = format!("mode=0755,size={}", config.storage);
    mount(Some("cnitest"), STORE, Some("tmpfs"), MsFlags::MS_NOATIME, Some(options.as_str()))
        .map_err(refused("mount a tmpfs"))?;
    for directory in ["root", "upper", "work", "fresh"] {
        make_dir(&Path::new(STORE).join(directory), 0o755)?;
    }
    let store = File::open(STORE).map_err(failed("open the store"))?;
    let root = inside(Path::new("/"));
    mount(Some(&root), &root, none(), MsFlags::MS_BIND, none()).map_err(refused("bind the new root"))?;

    let mut needed: Vec<PathBuf> = EMPTY.iter().map(PathBuf::from).collect();
    needed.push(PathBuf::from(PLUGIN_DIR));
    for bind in &config.binds {
        let target = resolve(&bind.target);
        if bind.source.is_dir() {
            needed.push(target);
        } else if let Some(parent) = target.parent() {
            needed.push(parent.to_owned());
        }
    }
    let mut builder = Builder { config, mounts, needed, layers: Vec::new(), count: 0 };
    builder.layers.push(Layer {
        seen_at: PathBuf::from("/"),
        directory: PathBuf::from("root"),
        overlay: false,
    });
    builder.host_directories()?;
    builder.own_directories()?;
    builder.devices()?;
    builder.kernel_file_systems()?;
    builder.binds()?;
    let layers = builder.layers;

    make_dir(&root.join(".host"), 0o700)?;
    pivot_root(&root, &root.join(".host")).map_err(refused("change to the new root"))?;
    std::env::set_current_dir("/").map_err(failed("change to the new root"))?;
    umount2("/.host", MntFlags::MNT_DETACH).map_err(refused("let go of the host's root"))?;
    fs::remove_dir("/.host").map_err(failed("let go of the host's root"))?;
    // SAFETY: a plain call on an open descriptor.
    if unsafe { libc::fchdir(store.as_raw_fd()) } != 0 {
        return Err(Refusal::io("change to the store", &io::Error::last_os_error()));
    }
    Ok(layers)
}

/// Leaves room for this many blocks in the store, whatever it holds; with nothing, for `storage` bytes altogether. The
/// working directory must be the store.
pub(super) fn leave_room(blocks: Option<u64>, storage: u64) -> Result<()> {
    let what = "bound what can be written";
    let size = match blocks {
        None => storage,
        Some(blocks) => {
            // A bound of 0 means none: the store must hold something.
            fs::write(BALLAST, "\n").map_err(failed(what))?;
            let store = nix::sys::statvfs::statvfs(".").map_err(refused(what))?;
            (store.blocks() - store.blocks_free() + blocks) * store.fragment_size()
        }
    };
    sys::reconfigure("size", &size.to_string()).map_err(failed(what))
}

/// Mounts sysfs for the current network namespace, and over it itself again, writable only below the directory of
/// virtual network interfaces. In a user namespace the kernel allows a new sysfs only while another one can be
/// seen, and `ip -n` unmounts the one on top before it mounts its own.
fn mount_sysfs(at: &Path, containers: bool) -> Result<()> {
    plain_sysfs(at)?;
    cover_sysfs(at, containers)
}

fn plain_sysfs(at: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("sysfs"), at, Some("sysfs"), flags, none()).map_err(refused("mount sysfs"))
}

fn cover_sysfs(at: &Path, containers: bool) -> Result<()> {
    bind(at, at).map_err(failed("bind /sys"))?;
    let net = at.join("devices/virtual/net");
    if net.is_dir() {
        bind(&net, &net).map_err(failed("bind /sys/devices/virtual/net"))?;
    }
    read_only(at, false).map_err(failed("make sysfs read-only"))?;
    let groups = at.join("fs/cgroup");
    if containers && groups.is_dir() {
        // A real hierarchy would outlive the arena: groups are the kernel's, not the namespace's.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
        mount(Some("cnitest"), &groups, Some("tmpfs"), flags, none())
            .map_err(refused("mount an empty /sys/fs/cgroup"))?;
    }
    Ok(())
}

/// The devices of the PCI bus.
const PCI: &str = "/sys/bus/pci/devices";

/// Has the PCI bus hold a device of this address to which a link belongs. [`renew_sysfs`] brings the real devices back.
pub(super) fn add_pci_device(address: &str, link: &str) -> Result<()> {
    let what = "add a PCI device";
    let bus = Path::new(PCI);
    let there = nix::sys::statfs::statfs(bus).map_err(refused(what))?;
    if there.filesystem_type() != nix::sys::statfs::TMPFS_MAGIC {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), bus, Some("tmpfs"), flags, none()).map_err(refused(what))?;
    }
    let device = bus.join(address);
    for folder in ["net", DRIVER] {
        fs::create_dir_all(device.join(folder)).map_err(failed(what))?;
    }
    let links = [
        (DRIVER.into(), device.join("driver")),
        (Path::new("/sys/class/net").join(link), device.join("net").join(link)),
    ];
    for (to, at) in links {
        symlink(to, at).map_err(failed(what))?;
    }
    Ok(())
}

/// The driver of such a device.
const DRIVER: &str = "cnitest-driver";

/// Replaces /sys: a sysfs shows the network namespace in which it was mounted.
pub(super) fn renew_sysfs(containers: bool) -> Result<()> {
    let aside = Path::new("/.sys");
    make_dir(aside, 0o555)?;
    plain_sysfs(aside)?;
    // A plugin may have left other mounts there: all of them go.
    while umount2("/sys", MntFlags::MNT_DETACH).is_ok() {}
    let to = Path::new("/sys");
    mount(Some(aside), to, none(), MsFlags::MS_MOVE, none())
        .map_err(refused("move the new sysfs to /sys"))?;
    fs::remove_dir(aside).map_err(failed("remove /.sys"))?;
    cover_sysfs(to, containers)
}

impl Builder<'_> {
    /// The host's top-level entries.
    fn host_directories(&mut self) -> Result<()> {
        let mut names: Vec<OsString> = fs::read_dir("/")
            .map_err(failed("list /"))?
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(|name| !OWN.iter().any(|own| name == own))
            .collect();
        // A host may lack them; a plugin may still want to write there.
        for name in ["etc", "opt", "var"] {
            if !Path::new("/").join(name).exists() {
                make_dir(&inside(&Path::new("/").join(name)), 0o755)?;
                names.retain(|found| found != name);
            }
        }
        names.sort();
        for name in names {
            self.entry(&Path::new("/").join(name), true)?;
        }
        Ok(())
    }

    /// One entry of a host directory, whatever it is.
    fn entry(&mut self, path: &Path, overlay: bool) -> Result<()> {
        let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
        let target = inside(path);
        if metadata.is_symlink() {
            if let Ok(to) = fs::read_link(path) {
                symlink(to, &target).map_err(failed(format!("link {}", path.display())))?;
            }
            return Ok(());
        }
        if metadata.is_dir() {
            return self.directory(path, overlay);
        }
        File::create(&target).map_err(failed(format!("make {}", path.display())))?;
        // What cannot be bound, such as a file of a mount that is gone, is seen as an empty file.
        if bind(path, &target).is_ok() {
            let _ = read_only(&target, false);
        }
        Ok(())
    }

    /// A host directory: an overlay where that is possible.
    fn directory(&mut self, path: &Path, overlay: bool) -> Result<()> {
        let target = inside(path);
        let mode = fs::metadata(path).map_or(0o755, |m| m.permissions().mode() & 0o7777);
        make_dir(&target, mode)?;
        let Ok(entries) = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) else {
            // The user may not read it: it is there, and empty, and the store holds what is written to it.
            return self.fill(path);
        };
        let mounted_below = self.mounts.iter().any(|mount| mount != path && mount.starts_with(path));
        if overlay && !mounted_below && self.overlay(path, mode).is_ok() {
            return Ok(());
        }
        let needed_below = self.needed.iter().any(|needed| needed.starts_with(path));
        if (mounted_below && entries.len() <= MOST_ENTRIES) || needed_below {
            for entry in entries {
                // Overlays of a user namespace must not reveal what lies under a mount, hence one per entry.
                self.entry(&path.join(entry.file_name()), overlay)?;
            }
            return self.fill(path);
        }
        let recursive = MsFlags::MS_BIND | MsFlags::MS_REC;
        if mount(Some(path), &target, none(), recursive, none()).is_ok() {
            read_only(&target, true).map_err(failed(format!("make {} read-only", path.display())))?;
        }
        Ok(())
    }

    /// Makes the needed directories below a directory that is the store's own.
    fn fill(&self, path: &Path) -> Result<()> {
        for needed in self.needed.iter().filter(|needed| needed.starts_with(path)) {
            // Ignored where a mount that cannot be written to lies in between: the step that needs it says so.
            let _ = fs::create_dir_all(inside(needed));
        }
        Ok(())
    }

    fn overlay(&mut self, path: &Path, mode: u32) -> Result<()> {
        let number = self.count;
        let (upper, work) = (store(&format!("upper/{number}")), store(&format!("work/{number}")));
        make_dir(&upper, mode)?;
        make_dir(&work, 0o755)?;
        for needed in self.needed.iter().filter(|needed| needed.starts_with(path)) {
            make_needed(path, &upper, needed)?;
        }
        let options = |extra: &str| {
            let mut text = b"lowerdir=".to_vec();
            text.extend(escaped(path));
            text.extend(b",upperdir=");
            text.extend(escaped(&upper));
            text.extend(b",workdir=");
            text.extend(escaped(&work));
            text.extend(extra.as_bytes());
            OsString::from_vec(text)
        };
        // User namespaces need `userxattr`; kernels before 5.11 do not know it.
        let mounted = mount_overlay(&inside(path), &options(",userxattr"))
            .or_else(|_| mount_overlay(&inside(path), &options("")));
        match mounted {
            Ok(()) => {
                self.count += 1;
                self.layers.push(Layer {
                    seen_at: path.to_owned(),
                    directory: PathBuf::from(format!("upper/{number}")),
                    overlay: true,
                });
                Ok(())
            }
            Err(errno) => {
                let _ = fs::remove_dir_all(&upper);
                let _ = fs::remove_dir_all(&work);
                Err(Refusal::io(format!("overlay {}", path.display()), &errno.into()))
            }
        }
    }

    /// /run with the directory of network namespaces, /tmp, and the directories that start empty.
    fn own_directories(&mut self) -> Result<()> {
        make_dir(&inside(Path::new("/run")), 0o755)?;
        make_dir(&inside(Path::new(NETNS_DIR)), 0o755)?;
        make_dir(&inside(Path::new("/tmp")), 0o1777)?;
        for (number, path) in EMPTY.iter().enumerate() {
            let fresh = store(&format!("fresh/{number}"));
            make_dir(&fresh, 0o755)?;
            let target = inside(Path::new(path));
            fs::create_dir_all(&target).map_err(failed(format!("make {path}")))?;
            bind(&fresh, &target).map_err(failed(format!("mount {path}")))?;
            self.layers.push(Layer {
                seen_at: PathBuf::from(path),
                directory: PathBuf::from(format!("fresh/{number}")),
                overlay: false,
            });
        }
        if self.config.coverage {
            // No layer: whatever is in it was not left by a plugin.
            let (fresh, target) = (store(counters::DIRECTORY), inside(Path::new(counters::SEEN_AT)));
            make_dir(&fresh, 0o777)?;
            make_dir(&target, 0o777)?;
            bind(&fresh, &target).map_err(failed(format!("mount {}", counters::SEEN_AT)))?;
        }
        Ok(())
    }

    fn devices(&self) -> Result<()> {
        let dev = inside(Path::new("/dev"));
        make_dir(&dev, 0o755)?;
        make_dir(&dev.join("net"), 0o755)?;
        make_dir(&dev.join("shm"), 0o1777)?;
        for name in DEVICES {
            let source = Path::new("/dev").join(name);
            if !source.exists() {
                continue;
            }
            let target = dev.join(name);
            File::create(&target).map_err(failed(format!("make /dev/{name}")))?;
            bind(&source, &target).map_err(failed(format!("bind /dev/{name}")))?;
        }
        for (name, to) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            symlink(to, dev.join(name)).map_err(failed(format!("link /dev/{name}")))?;
        }
        Ok(())
    }

    fn kernel_file_systems(&self) -> Result<()> {
        let proc = inside(Path::new("/proc"));
        make_dir(&proc, 0o555)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), &proc, Some("proc"), flags, none()).map_err(|errno| Refusal {
            what: "mount /proc".to_owned(),
            reason: format!(
                "{}; in a container, the host's /proc must be fully visible (`--security-opt systempaths=unconfined`)",
                errno.desc()
            ),
            errno: Some(errno as i32),
        })?;
        bound_process_ids(&proc, self.config.process_ids);
        // Only what belongs to the network namespace may be written.
        let sysctl = proc.join("sys");
        bind(&sysctl, &sysctl).map_err(failed("bind /proc/sys"))?;
        let net = sysctl.join("net");
        bind(&net, &net).map_err(failed("bind /proc/sys/net"))?;
        read_only(&sysctl, false).map_err(failed("make /proc/sys read-only"))?;
        let trigger = proc.join("sysrq-trigger");
        if trigger.exists() {
            bind(Path::new("/dev/null"), &trigger).map_err(failed("hide /proc/sysrq-trigger"))?;
        }
        let sys = inside(Path::new("/sys"));
        make_dir(&sys, 0o555)?;
        mount_sysfs(&sys, self.config.containers)
    }

    /// What the configuration asks to be seen: directories and files, and the plugins.
    fn binds(&self) -> Result<()> {
        let mut shown = Vec::new();
        for entry in &self.config.binds {
            if entry.target == Path::new(PLUGIN_DIR) {
                shown.extend(show_installed(&entry.source)?);
                continue;
            }
            show(&entry.source, &inside(&resolve(&entry.target)), &entry.target)?;
        }
        for alias in &self.config.plugin_aliases {
            if shown.iter().any(|name| *name == *alias.name) {
                continue;
            }
            let seen_at = Path::new(PLUGIN_DIR).join(&alias.name);
            let name = Path::new(&alias.name);
            let inside_folder = name.components().all(|part| matches!(part, Component::Normal(_)));
            if !inside_folder || name.file_name().is_none() {
                return Err(Refusal::new(
                    format!("place the plugin {:?}", alias.name),
                    "its name must be a path inside the folder of plugins",
                ));
            }
            let target = inside(Path::new(PLUGIN_DIR)).join(&alias.name);
            // A symbolic link of the host would lead the mount elsewhere.
            if fs::symlink_metadata(&target).is_ok_and(|m| m.is_symlink()) {
                fs::remove_file(&target).map_err(failed(format!("replace {}", seen_at.display())))?;
            }
            show(&alias.executable, &target, &seen_at)?;
        }
        Ok(())
    }
}

/// Shows each plugin of a folder where plugins are installed. Not the folder as a whole: what aliases stand for has to get in as
/// well. Answers the names.
fn show_installed(folder: &Path) -> Result<Vec<OsString>> {
    let at = Path::new(PLUGIN_DIR);
    let entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(failed(format!("list {}", folder.display())))?;
    let mut names = Vec::new();
    for entry in entries {
        let (source, name) = (entry.path(), entry.file_name());
        // A symbolic link that leads nowhere is no plugin.
        if !source.exists() {
            continue;
        }
        let target = inside(at).join(&name);
        // A symbolic link of the host would lead the mount elsewhere.
        if fs::symlink_metadata(&target).is_ok_and(|m| m.is_symlink()) {
            fs::remove_file(&target).map_err(failed(format!("replace {}", at.join(&name).display())))?;
        }
        show(&source, &target, &at.join(&name))?;
        names.push(name);
    }
    Ok(names)
}

/// Shows `source` of the host at `target`, read-only; copies a file that cannot be bound.
fn show(source: &Path, target: &Path, seen_at: &Path) -> Result<()> {
    let what = || format!("show {} at {}", source.display(), seen_at.display());
    // The link leads to a mount of the namespace that was left, which cannot be bound; its text can.
    let named = if source == Path::new("/proc/self/exe") { fs::read_link(source).ok() } else { None };
    let from = named.as_deref().unwrap_or(source);
    let metadata = fs::metadata(source).map_err(failed(what()))?;
    if metadata.is_dir() {
        fs::create_dir_all(target).map_err(failed(what()))?;
        mount(Some(from), target, none(), MsFlags::MS_BIND | MsFlags::MS_REC, none())
            .map_err(refused(what()))?;
        return read_only(target, true).map_err(failed(what()));
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(failed(what()))?;
    }
    if !target.exists() {
        File::create(target).map_err(failed(what()))?;
    }
    match bind(from, target) {
        Ok(()) => read_only(target, false).map_err(failed(what())),
        // Reached through a directory that this user may not enter by name, such as a working directory.
        Err(_) => {
            let mut input = File::open(source).map_err(failed(what()))?;
            let mut output = File::create(target).map_err(failed(what()))?;
            io::copy(&mut input, &mut output).map_err(failed(what()))?;
            let mode = metadata.permissions().mode() & 0o777;
            fs::set_permissions(target, Permissions::from_mode(mode)).map_err(failed(what()))
        }
    }
}

/// Bounds the process ids of the PID namespace. Before 6.14 the file is the whole system's: left alone.
fn bound_process_ids(proc: &Path, most: u32) {
    let release = fs::read_to_string(proc.join("sys/kernel/osrelease")).unwrap_or_default();
    if kernel_at_least(&release, (6, 14)) {
        // A bound that the kernel does not take only means that the deadline is what ends a fork bomb.
        let _ = fs::write(proc.join("sys/kernel/pid_max"), most.to_string());
    }
}

/// Whether a kernel release such as `6.18.44-x` is at least this version.
fn kernel_at_least(release: &str, version: (u32, u32)) -> bool {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= version
}

/// Unmounts what programs mounted, all but `own`, and removes the files that machines keep in memory.
pub(super) fn empty_memory(own: &BTreeSet<PathBuf>) -> Result<()> {
    let in_memory = ["/run", "/dev/shm"].map(Path::new);
    // /sys is the arena's to renew.
    let strange = |point: &&PathBuf| !point.starts_with("/sys") && !own.contains(*point);
    // What is inside another comes after it.
    for point in mounts()?.iter().rev().filter(strange) {
        // Several may be there; what stays is told when its file is removed.
        while umount2(point, MntFlags::MNT_DETACH).is_ok() {}
    }
    in_memory.iter().try_for_each(|directory| empty(directory, own))
}

/// Removes what is in a directory, but for what leads to these paths.
fn empty(directory: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(failed(format!("list {}", directory.display())))? {
        let path = entry.map_err(failed(format!("list {}", directory.display())))?.path();
        if kept.contains(&path) {
            continue;
        }
        if path == Path::new(NETNS_DIR) || kept.iter().any(|point| point.starts_with(&path)) {
            empty(&path, kept)?;
        } else {
            super::files::remove(&path)?;
        }
    }
    Ok(())
}

/// Where something is mounted.
pub(super) fn mounts() -> Result<BTreeSet<PathBuf>> {
    let text = fs::read("/proc/self/mountinfo").map_err(failed("read /proc/self/mountinfo"))?;
    Ok(mount_points(&text))
}

/// The fifth field of each line, with its octal escapes undone.
fn mount_points(mountinfo: &[u8]) -> BTreeSet<PathBuf> {
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| {
            let mut path = Vec::with_capacity(field.len());
            let mut rest = field;
            while let [first, tail @ ..] = rest {
                if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = rest {
                    path.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                    rest = after;
                } else {
                    path.push(*first);
                    rest = tail;
                }
            }
            PathBuf::from(OsString::from_vec(path))
        })
        .collect()
}

/// Resolves the symbolic links of the part of a path that the host has.
fn resolve(path: &Path) -> PathBuf {
    // What starts empty has no links to follow.
    if ["/tmp", "/run"].iter().any(|own| path.starts_with(own)) {
        return path.to_owned();
    }
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(real) = existing.canonicalize() {
            return missing.iter().rev().fold(real, |all, part| all.join(part));
        }
        let (Some(name), Some(parent)) = (existing.file_name(), existing.parent()) else {
            return path.to_owned();
        };
        missing.push(name);
        existing = parent;
    }
}

/// Makes the directory `needed`, which lies below `lower`, in the upper layer of an overlay, with the
/// permissions that the host's directories on the way have.
fn make_needed(lower: &Path, upper: &Path, needed: &Path) -> Result<()> {
    let Ok(relative) = needed.strip_prefix(lower) else { return Ok(()) };
    let (mut real, mut copy) = (lower.to_owned(), upper.to_owned());
    for part in relative.components() {
        real.push(part);
        copy.push(part);
        let mode = fs::metadata(&real).map_or(0o755, |m| m.permissions().mode() & 0o7777);
        make_dir(&copy, mode)?;
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.map_err(failed(format!("make {}", path.display())))?,
    }
    // The agent must be able to enter and write it as its owner.
    fs::set_permissions(path, Permissions::from_mode(mode | 0o700))
        .map_err(failed(format!("set the mode of {}", path.display())))
}

fn none() -> Option<&'static str> {
    None
}

fn store(relative: &str) -> PathBuf {
    Path::new(STORE).join(relative)
}

/// Where a path of the arena is while the root is built.
fn inside(path: &Path) -> PathBuf {
    store("root").join(path.strip_prefix("/").unwrap_or(path))
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(Some(from), to, none(), MsFlags::MS_BIND, none()).map_err(Into::into)
}

/// Makes a mount read-only, and with `recursive` every mount below it.
fn read_only(path: &Path, recursive: bool) -> io::Result<()> {
    #[repr(C)]
    struct MountAttributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let attributes =
        MountAttributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: 0, user_namespace: 0 };
    let text = CString::new(path.as_os_str().as_bytes())?;
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and the structure has the size that is passed; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            text.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::ENOSYS) {
        return Err(error);
    }
    // Kernels before 5.12: one mount at a time, and every flag that it has must be named again.
    let has = nix::sys::statvfs::statvfs(path)?.flags();
    let mut all = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    for (flag, ms) in [
        (nix::sys::statvfs::FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (nix::sys::statvfs::FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (nix::sys::statvfs::FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (nix::sys::statvfs::FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (nix::sys::statvfs::FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (nix::sys::statvfs::FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if has.contains(flag) {
            all |= ms;
        }
    }
    mount(none(), path, none(), all, none()).map_err(Into::into)
}

fn mount_overlay(target: &Path, options: &OsStr) -> nix::Result<()> {
    mount(Some("overlay"), target, Some("overlay"), MsFlags::MS_NOATIME, Some(options))
}

/// A path as overlayfs reads it in its options.
fn escaped(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let text =
            b"22 1 8:1 / / rw - ext4 /dev/sda rw\n23 22 0:5 / /mnt/a\\040b\\134c rw shared:1 - tmpfs t rw\n";
        let expected = [PathBuf::from("/"), PathBuf::from("/mnt/a b\\c")].into_iter().collect();
        assert_eq!(mount_points(text), expected);
    }

    #[test]
    fn kernel_releases_compare() {
        assert!(kernel_at_least("6.18.44-fc", (6, 14)));
        assert!(kernel_at_least("6.14", (6, 14)));
        assert!(kernel_at_least("10.0", (6, 14)));
        assert!(!kernel_at_least("6.8.0-31-generic", (6, 14)));
        assert!(!kernel_at_least("", (6, 14)));
    }

    #[test]
    fn options_are_escaped() {
        assert_eq!(escaped(Path::new("/a:b,c\\d")), b"/a\\:b\\,c\\\\d");
    }

    #[test]
    fn missing_parts_of_a_path_stay() {
        assert_eq!(resolve(Path::new("/proc/none/such")), PathBuf::from("/proc/none/such"));
        assert_eq!(resolve(Path::new("/tmp/none")), PathBuf::from("/tmp/none"));
    }
}
