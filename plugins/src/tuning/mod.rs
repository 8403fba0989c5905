//! `tuning`: changes settings and attributes of the container's interface.
//!
//! What was before is kept in a file, see [`backup`], and DEL brings it back where the interface still is.

mod backup;
mod sysctl;

use std::path::Path;

use self::backup::{Backup, Folder, State};
use self::sysctl::Sysctl;
use crate::fields::{Fields, invalid, member};
use crate::netlink::Socket;
use crate::netlink::link::{self, Change, Link, Mac};
use crate::netns::Netns;
use crate::refusal::{DIFFERS, KERNEL, Refusal};
use crate::skel::{Answer, Outcome, Plugin, Request};
use crate::veth::{self, differs};

pub(crate) const PLUGIN: Plugin = Plugin {
    name: "tuning",
    about: "a chained plugin that changes the container's interface: sysctl, mac, mtu, promisc, allmulti, txQLen, \
            dataDir; runtimeConfig.mac, args.cni and the CNI_ARGS key MAC as well. DEL brings back what was before.",
    add,
    del,
    check,
    gc,
    status,
    #[cfg(feature = "fuzzing")]
    understand,
};

/// The folder of the backups in a configuration that names none.
const DATA_DIR: &str = "/run/cni/tuning";

/// What the interface is to be like.
#[derive(Debug, Default)]
struct Settings {
    mac: Option<Mac>,
    mtu: Option<u32>,
    promiscuous: bool,
    all_multicast: Option<bool>,
    tx_queue: Option<u32>,
    sysctls: Vec<Sysctl>,
}

impl Settings {
    fn read(request: &Request) -> Result<Settings, Refusal> {
        let ifname = &request.attachment.ifname;
        let mut settings = Settings {
            sysctls: sysctl::configured(&request.raw, ifname)?,
            ..Settings::attributes(request.fields())?
        };
        if let Some(arguments) = arguments(request)? {
            let over = Settings::attributes(arguments)?;
            settings = Settings {
                mac: over.mac.or(settings.mac),
                mtu: over.mtu.or(settings.mtu),
                promiscuous: match arguments.get("promisc") {
                    Some(_) => over.promiscuous,
                    None => settings.promiscuous,
                },
                all_multicast: over.all_multicast.or(settings.all_multicast),
                tx_queue: over.tx_queue.or(settings.tx_queue),
                ..settings
            };
            let own = arguments.object("sysctl")?.cloned().unwrap_or_default();
            for own in sysctl::read("args.cni.sysctl", own, ifname)? {
                settings.sysctls.retain(|one| one.file != own.file);
                settings.sysctls.push(own);
            }
        }
        // The others have no CNI_ARGS to look at.
        if request.operation.is_attachment() {
            settings.mac = veth::read_mac(request)?.or(settings.mac);
        }
        sysctl::require_allowed(&settings.sysctls)?;
        Ok(settings)
    }

    /// The attributes that an object asks for.
    fn attributes(fields: Fields<'_>) -> Result<Settings, Refusal> {
        let mac = match fields.string("mac")?.filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(Mac::parse(text).filter(|mac| mac.is_unicast()).ok_or_else(|| {
                invalid(&fields.place("mac"), format!("found {text:?}, use one like 02:00:00:00:00:01"))
            })?),
        };
        Ok(Settings {
            mac,
            mtu: veth::read_mtu(fields)?,
            promiscuous: fields.flag("promisc")?,
            all_multicast: fields.get("allmulti").map(|_| fields.flag("allmulti")).transpose()?,
            tx_queue: fields.u32("txQLen")?,
            sysctls: Vec::new(),
        })
    }

    /// What has to be changed of an interface.
    fn change(&self, link: &Link) -> Change {
        Change {
            mac: self.mac.filter(|mac| mac.to_string() != link.mac),
            mtu: self.mtu.filter(|mtu| *mtu != link.mtu),
            promiscuous: (self.promiscuous && !link.promiscuous).then_some(true),
            all_multicast: self.all_multicast.filter(|wanted| *wanted != link.all_multicast),
            tx_queue: self.tx_queue.filter(|length| *length != link.tx_queue),
            up: None,
        }
    }

    /// The settings that have another value, in the calling thread's namespace.
    fn other_sysctls(&self) -> Vec<(&Sysctl, Option<String>)> {
        let with_current = self.sysctls.iter().map(|one| (one, sysctl::current(&one.file)));
        let differs = |(one, current): &(&Sysctl, Option<String>)| {
            current.as_ref().is_none_or(|current| !sysctl::is_same(current, &one.value))
        };
        with_current.filter(differs).collect()
    }
}

/// `args.cni`, by which a runtime may change the configuration.
fn arguments(request: &Request) -> Result<Option<Fields<'_>>, Refusal> {
    let cni = request.fields().get("args").and_then(|args| member(args, "cni"));
    cni.map(|value| Fields::at("args.cni", value)).transpose()
}

/// The folder of the backups. DEL has to find it however odd the rest of the configuration is.
fn data_dir(request: &Request) -> Result<&Path, Refusal> {
    let named = request.fields().string("dataDir")?.filter(|text| !text.is_empty());
    Ok(Path::new(named.unwrap_or(DATA_DIR)))
}

/// The container's interface, from inside its namespace.
fn find(socket: &mut Socket, ifname: &str) -> Result<Link, Refusal> {
    socket.link(ifname)?.ok_or_else(|| {
        let problem = format!(
            "the container has no interface {ifname} (CNI_IFNAME): put a plugin in front that makes it"
        );
        Refusal::new(KERNEL, problem)
    })
}

fn add(request: &Request) -> Outcome {
    let settings = Settings::read(request)?;
    let folder = Folder(data_dir(request)?);
    let previous = request.result_of_others()?;
    request.netns()?.run(|| tune(request, &settings, &folder))??;
    let mut result = previous.clone();
    if let Some((index, _)) = request.own_interface(previous) {
        let interface = &mut result.interfaces[index];
        interface.mac = settings.mac.map(|mac| mac.to_string()).or(interface.mac.take());
        interface.mtu = settings.mtu.or(interface.mtu);
    }
    Ok(Answer::Result(Box::new(result)))
}

/// Changes the interface, all or nothing; runs inside the container's namespace.
fn tune(request: &Request, settings: &Settings, folder: &Folder<'_>) -> Result<(), Refusal> {
    let mut socket = Socket::route()?;
    let link = find(&mut socket, &request.attachment.ifname)?;
    let change = settings.change(&link);
    let sysctls = settings.other_sysctls();
    let before = State {
        mac: change.mac.map(|_| link.mac.clone()),
        mtu: change.mtu.map(|_| link.mtu),
        promiscuous: change.promiscuous.map(|_| link.promiscuous),
        all_multicast: change.all_multicast.map(|_| link.all_multicast),
        tx_queue: change.tx_queue.map(|_| link.tx_queue),
        sysctls: sysctls
            .iter()
            .filter_map(|(one, current)| Some((one.file.clone(), current.clone()?)))
            .collect(),
    };
    if before == State::default() && sysctls.is_empty() {
        return Ok(());
    }
    let backup = Backup {
        attachment: request.attachment.clone(),
        netns_path: request.sandbox().unwrap_or_default(),
        netns: request.netns()?.identity(),
        interface: link.index,
        before: before.clone(),
    };
    // A second plugin of this type in the chain must not take what the first changed for what was before.
    let earlier = folder.read(&request.attachment)?.filter(|earlier| earlier.is_same_interface(&backup));
    let kept = match &earlier {
        Some(earlier) => Backup { before: earlier.before.clone().or(before), ..backup.clone() },
        None => backup.clone(),
    };
    folder.write(&kept)?;
    let outcome = apply(&mut socket, &link, change, &sysctls);
    if outcome.is_err() {
        let restored = restore(&mut socket, &backup);
        let kept = match &earlier {
            Some(earlier) => folder.write(earlier),
            None => folder.remove(&request.attachment),
        };
        if let Err(error) = restored.and(kept) {
            request.log(format_args!("undoing the ADD: {error}"));
        }
    }
    outcome
}

fn apply(
    socket: &mut Socket,
    link: &Link,
    change: Change,
    sysctls: &[(&Sysctl, Option<String>)],
) -> Result<(), Refusal> {
    socket.apply(vec![link::change(&link.name, link.index, change)])?;
    sysctls.iter().try_for_each(|(one, _)| sysctl::write(&one.file, &one.value))
}

/// Brings back what was before, as far as the interface is still there. Goes on after an error and reports the first.
fn restore(socket: &mut Socket, backup: &Backup) -> Result<(), Refusal> {
    let Backup { before, interface, attachment, .. } = backup;
    let change = Change {
        mac: before.mac.as_deref().and_then(Mac::parse),
        mtu: before.mtu,
        promiscuous: before.promiscuous,
        all_multicast: before.all_multicast,
        tx_queue: before.tx_queue,
        up: None,
    };
    let step = link::change(&attachment.ifname, *interface, change).or(&[libc::ENODEV]);
    let mut outcomes = vec![socket.apply(vec![step]).map(drop).map_err(Refusal::from)];
    for (file, value) in before.sysctls.iter().rev() {
        if sysctl::current(file).is_some_and(|current| !sysctl::is_same(&current, value)) {
            outcomes.push(sysctl::write(file, value));
        }
    }
    outcomes.into_iter().collect()
}

/// Brings back what was before if the namespace is still the one that was changed, and removes the backup. Who does not name the
/// namespace may not know that it is still there.
fn undo(folder: &Folder<'_>, backup: &Backup, named: Option<Netns>) -> Result<(), Refusal> {
    let netns = named.or_else(|| Netns::open(backup.netns_path.as_str()).ok());
    if let Some(netns) = netns.filter(|netns| netns.identity() == backup.netns) {
        netns.run(|| restore(&mut Socket::route()?, backup))??;
    }
    folder.remove(&backup.attachment)
}

fn del(request: &Request) -> Outcome {
    let folder = Folder(data_dir(request).unwrap_or(Path::new(DATA_DIR)));
    match folder.read(&request.attachment)? {
        Some(backup) => undo(&folder, &backup, request.netns_if_any())?,
        None => folder.remove(&request.attachment)?,
    }
    Ok(Answer::Silence)
}

fn check(request: &Request) -> Outcome {
    let settings = Settings::read(request)?;
    request.required_prev_result()?;
    let ifname = &request.attachment.ifname;
    let found = request.netns()?.run(|| -> Result<_, Refusal> {
        let link = Socket::route()?.link(ifname)?;
        let sysctls = settings.other_sysctls().into_iter();
        let described = sysctls.map(|(one, current)| match current {
            Some(current) => format!("{} is {current:?}, not {:?}", one.key, one.value),
            None => format!("the kernel has no {}", one.key),
        });
        Ok((link, described.collect::<Vec<String>>()))
    })??;
    let (link, sysctls) = found;
    let Some(link) = link else {
        return differs(format!("the container has no interface {ifname}"));
    };
    let change = settings.change(&link);
    let attributes = [
        change.mac.map(|mac| format!("its hardware address is {}, not {mac}", link.mac)),
        change.mtu.map(|mtu| format!("its MTU is {}, not {mtu}", link.mtu)),
        change.promiscuous.map(|_| "it is not promiscuous".to_owned()),
        change.all_multicast.map(|wanted| format!("allmulti is {}, not {wanted}", link.all_multicast)),
        change.tx_queue.map(|length| format!("its queue has {} packets, not {length}", link.tx_queue)),
    ];
    let problems: Vec<String> = attributes.into_iter().flatten().chain(sysctls).collect();
    match problems.is_empty() {
        true => Ok(Answer::Silence),
        false => Err(Refusal::new(DIFFERS, format!("{ifname}: {}", problems.join("; ")))),
    }
}

fn gc(request: &Request) -> Outcome {
    let valid = request.valid_attachments()?;
    let folder = Folder(data_dir(request)?);
    let stale = folder.all()?.into_iter().filter(|backup| {
        backup.attachment.network == request.attachment.network && !valid.contains(&backup.attachment)
    });
    let outcomes: Vec<Result<(), Refusal>> = stale.map(|backup| undo(&folder, &backup, None)).collect();
    outcomes.into_iter().collect::<Result<(), Refusal>>().map(|()| Answer::Silence)
}

fn status(request: &Request) -> Outcome {
    Settings::read(request)?;
    data_dir(request)?;
    Ok(Answer::Silence)
}

#[cfg(feature = "fuzzing")]
fn understand(request: &Request) -> Result<(), Refusal> {
    Settings::read(request)?;
    data_dir(request)?;
    crate::fuzzing::common(request)
}

/// Reads a backup, and a list of allowed settings.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_stored(bytes: &[u8]) {
    backup::read_any(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        sysctl::read_allowlist(text);
    }
}
