//! Which device of the host a configuration means.

use std::path::{Component, Path, PathBuf};

use crate::fields::{Fields, invalid};
use crate::netlink::Socket;
use crate::netlink::link::Link;
use crate::refusal::Refusal;
use crate::skel::Request;

/// The drivers that hand a device to a program: it is no link then.
const USERSPACE_DRIVERS: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];
/// Where `kernelpath` leads.
const DEVICES: &str = "/sys/devices/";
/// The lengths in octets of the hardware addresses of Ethernet, EUI-64 and InfiniBand.
const ADDRESS_LENGTHS: [usize; 3] = [6, 8, 20];

/// What the configuration says of the device. Of several keys the first of these counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings<'a> {
    device: Option<&'a str>,
    hwaddr: Option<String>,
    kernel_path: Option<&'a Path>,
    pci: Option<&'a str>,
    device_id: Option<&'a str>,
}

/// A device.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// The link of this name.
    Named(String),
    /// The link with this hardware address.
    Addressed(String),
    /// None that the kernel has as a link: it is a program's.
    Userspace,
}

impl<'a> Settings<'a> {
    pub(super) fn read(request: &'a Request) -> Result<Settings<'a>, Refusal> {
        let fields = request.fields();
        let text = |key| Ok::<_, Refusal>(fields.string(key)?.filter(|text| !text.is_empty()));
        let hwaddr = match text("hwaddr")? {
            None => None,
            Some(text) => Some(normal(text).ok_or_else(|| {
                invalid("hwaddr", format!("found {text:?}, use one like 02:00:00:00:00:01"))
            })?),
        };
        let kernel_path = text("kernelpath")?.map(Path::new);
        if let Some(path) = kernel_path
            && !is_below_devices(path)
        {
            return Err(invalid("kernelpath", format!("found {path:?}, use a path below {DEVICES}")));
        }
        let runtime = request.fields().get(cni_spec::keys::RUNTIME_CONFIG);
        let runtime = runtime.map(|value| Fields::at(cni_spec::keys::RUNTIME_CONFIG, value)).transpose()?;
        let device_id = match &runtime {
            Some(runtime) => runtime.string("deviceID")?.filter(|text| !text.is_empty()),
            None => None,
        };
        let pci = text("pciBusID")?;
        for (place, name) in [("pciBusID", pci), ("runtimeConfig.deviceID", device_id)] {
            if let Some(name) = name.filter(|name| !is_file_name(name)) {
                return Err(invalid(place, format!("found {name:?}, use one like 0000:00:1f.6")));
            }
        }
        Ok(Settings { device: text("device")?, hwaddr, kernel_path, pci, device_id })
    }

    /// Whether it is a program's. A device that is in a container is not on the host, and was a link.
    pub(super) fn is_userspace(&self, sys: &Path) -> bool {
        self.device(sys).is_ok_and(|device| device == Device::Userspace)
    }

    /// The device that is meant. `sys` is where sysfs is.
    pub(super) fn device(&self, sys: &Path) -> Result<Device, Refusal> {
        let bus = |bus: &str, name: &str| sys.join("bus").join(bus).join("devices").join(name);
        let (pci, auxiliary) = match self.device_id {
            None => (self.pci, None),
            Some(id) if bus("pci", id).exists() => (Some(id), None),
            Some(id) if bus("auxiliary", id).exists() => (None, Some(id)),
            Some(id) => {
                let problem =
                    format!("the host has no PCI device and no auxiliary device {id}: name one that it has");
                return Err(invalid("runtimeConfig.deviceID", problem));
            }
        };
        if pci.is_some_and(|name| has_userspace_driver(&bus("pci", name))) {
            return Ok(Device::Userspace);
        }
        if let Some(name) = self.device {
            return Ok(Device::Named(name.to_owned()));
        }
        if let Some(address) = &self.hwaddr {
            return Ok(Device::Addressed(address.clone()));
        }
        let (place, folder) = if let Some(path) = self.kernel_path {
            let inner = path.strip_prefix("/sys").unwrap_or(path);
            ("kernelpath", sys.join(inner))
        } else if let Some(name) = pci {
            (if self.device_id.is_some() { "runtimeConfig.deviceID" } else { "pciBusID" }, bus("pci", name))
        } else if let Some(name) = auxiliary {
            ("runtimeConfig.deviceID", bus("auxiliary", name))
        } else {
            return Err(invalid(
                "device",
                "missing: name the device by device, hwaddr, kernelpath or pciBusID",
            ));
        };
        link_of(&folder).map(Device::Named).ok_or_else(|| {
            let problem = format!(
                "{} has no network link on the host: it is in a container, or has no driver",
                folder.display()
            );
            invalid(place, problem)
        })
    }
}

fn is_below_devices(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(DEVICES))
        && path.components().all(|part| part != Component::ParentDir)
}

fn is_file_name(name: &str) -> bool {
    !name.contains('/') && ![".", ".."].contains(&name)
}

/// A hardware address as the kernel's are printed; written with colons, hyphens or, four digits each, dots.
fn normal(text: &str) -> Option<String> {
    let (separator, width) = match text.find([':', '-', '.'])? {
        2 if text.contains(':') => (':', 2),
        2 => ('-', 2),
        4 => ('.', 4),
        _ => return None,
    };
    let groups: Vec<&str> = text.split(separator).collect();
    let is_hexadecimal =
        |group: &&str| group.len() == width && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !groups.iter().all(is_hexadecimal) || !ADDRESS_LENGTHS.contains(&(groups.len() * width / 2)) {
        return None;
    }
    let digits = groups.concat().to_ascii_lowercase();
    let octets: Vec<&str> = (0..digits.len()).step_by(2).map(|start| &digits[start..start + 2]).collect();
    Some(octets.join(":"))
}

fn has_userspace_driver(device: &Path) -> bool {
    let driver = device.join("driver").canonicalize().unwrap_or_default();
    driver.file_name().is_some_and(|name| USERSPACE_DRIVERS.iter().any(|known| name == *known))
}

/// The first link of a device, by name; that of a virtio device is one level further down.
fn link_of(device: &Path) -> Option<String> {
    let first = |folder: PathBuf| names(&folder).into_iter().next();
    first(device.join("net")).or_else(|| {
        let virtio = names(device).into_iter().filter(|name| name.starts_with("virtio"));
        virtio.filter_map(|name| first(device.join(name).join("net"))).next()
    })
}

/// The names in a folder, in order; none if it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

impl Device {
    /// The link on the host.
    pub(super) fn find(&self, host: &mut Socket) -> Result<Option<Link>, Refusal> {
        Ok(match self {
            Device::Named(name) => host.link(name)?,
            Device::Addressed(address) => host.links(None)?.into_iter().find(|link| link.mac == *address),
            Device::Userspace => None,
        })
    }

    /// The error that the host does not have the link.
    pub(super) fn missing(&self) -> Refusal {
        let where_it_is = "name one that it has, or detach the container that has it";
        match self {
            Device::Named(name) => invalid("device", format!("the host has no link {name}: {where_it_is}")),
            Device::Addressed(address) => {
                invalid("hwaddr", format!("the host has no link with the address {address}: {where_it_is}"))
            }
            Device::Userspace => invalid("device", "it is no link: a program has it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use serde_json::{Value, json};

    use super::*;

    /// A sysfs with a network card, a virtio one, one that a program has, and an auxiliary device.
    fn sysfs() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let make = |path: &str| fs::create_dir_all(root.path().join(path)).expect("a folder in it");
        for path in [
            "bus/pci/devices/0000:00:01.0/net/enp1",
            "bus/pci/devices/0000:00:01.0/net/enp0",
            "bus/pci/devices/0000:00:02.0/virtio3/net/ens2",
            "bus/pci/devices/0000:00:03.0",
            "bus/pci/devices/0000:00:04.0",
            "bus/pci/drivers/vfio-pci",
            "bus/auxiliary/devices/mlx5_core.sf.2/net/enp9s2",
            "devices/pci0000:00/0000:00:05.0/net/enp5",
        ] {
            make(path);
        }
        let driver = root.path().join("bus/pci/drivers/vfio-pci");
        symlink(driver, root.path().join("bus/pci/devices/0000:00:03.0/driver")).expect("a link");
        root
    }

    fn device(sys: &Path, config: &Value) -> Result<Device, String> {
        let request = Request::sample(config);
        let settings = Settings::read(&request).map_err(|error| error.msg.clone())?;
        settings.device(sys).map_err(|error| error.msg.clone())
    }

    #[test]
    fn devices_are_found() {
        let sys = sysfs();
        let named = |name: &str| Ok(Device::Named(name.to_owned()));
        let id = |id: &str| json!({ "runtimeConfig": { "deviceID": id } });
        for (config, expected) in [
            (json!({ "device": "eth1" }), named("eth1")),
            (json!({ "hwaddr": "02-00-00-00-00-0A" }), Ok(Device::Addressed("02:00:00:00:00:0a".to_owned()))),
            (json!({ "kernelpath": "/sys/devices/pci0000:00/0000:00:05.0" }), named("enp5")),
            (json!({ "pciBusID": "0000:00:01.0" }), named("enp0")),
            (json!({ "pciBusID": "0000:00:02.0" }), named("ens2")),
            (json!({ "pciBusID": "0000:00:03.0" }), Ok(Device::Userspace)),
            (json!({ "device": "eth1", "pciBusID": "0000:00:01.0" }), named("eth1")),
            (id("0000:00:01.0"), named("enp0")),
            (id("0000:00:03.0"), Ok(Device::Userspace)),
            (id("mlx5_core.sf.2"), named("enp9s2")),
            (
                json!({ "pciBusID": "0000:00:01.0", "runtimeConfig": { "deviceID": "mlx5_core.sf.2" } }),
                named("enp9s2"),
            ),
        ] {
            assert_eq!(device(sys.path(), &config), expected, "{config}");
        }
    }

    #[test]
    fn what_means_no_device_is_refused() {
        let sys = sysfs();
        for (config, place) in [
            (json!({}), "device: missing"),
            (json!({ "device": "" }), "device: missing"),
            (json!({ "device": 5 }), "device: found 5"),
            (json!({ "hwaddr": "02:00:00:00:00" }), "hwaddr: found"),
            (json!({ "hwaddr": "2:0:0:0:0:1" }), "hwaddr: found"),
            (json!({ "kernelpath": "/etc" }), "kernelpath: found"),
            (json!({ "kernelpath": "/sys/devices/../../etc" }), "kernelpath: found"),
            (json!({ "kernelpath": "/sys/devices/none" }), "kernelpath: "),
            (json!({ "pciBusID": "../pci" }), "pciBusID: found"),
            (json!({ "pciBusID": "0000:00:04.0" }), "pciBusID: "),
            (json!({ "runtimeConfig": { "deviceID": "0000:00:09.0" } }), "runtimeConfig.deviceID: the host"),
            (json!({ "runtimeConfig": { "deviceID": 5 } }), "runtimeConfig.deviceID: found 5"),
        ] {
            let error = device(sys.path(), &config).expect_err("no device");
            assert!(error.starts_with(place), "{config}: {error}");
        }
    }

    #[test]
    fn hardware_addresses_have_several_forms() {
        let expected = Some("02:00:5e:10:00:01".to_owned());
        for text in ["02:00:5E:10:00:01", "02-00-5e-10-00-01", "0200.5e10.0001"] {
            assert_eq!(normal(text), expected, "{text}");
        }
        let infiniband = ["80"; 20].join(":");
        assert_eq!(normal(&infiniband), Some(infiniband.clone()));
        for text in
            ["", "02:00:5e", "02:00-5e:10:00:01", "0200.5e10.00", "é2:00:5e:10:00:01", "02:00:5e:10:00:0g"]
        {
            assert_eq!(normal(text), None, "{text}");
        }
    }
}
