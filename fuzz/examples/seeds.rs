//! Makes the seeds in `fuzz/corpus` anew: from the fixtures of the schemas, the generator with fixed seeds, the bundled
//! target files, and reports made here. `seeds namespace` makes those that are a record of this machine's kernel.
//!
//! `fuzz/seeds` calls it with what it needs.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use cni_schemas::generate::{Generator, Random};
use cni_schemas::mutate::text::Kind as TextKind;
use cni_schemas::{Kind, Profile};
use cni_spec::{Operation, Version};
use cnitest_fuzz::{TARGETS, Written};
use cnitest_reports::certificate::{
    CERTIFICATE_VERSION, Certificate, CertificateResult, CertificateSet, Section,
};
use cnitest_reports::model::{
    CaseResult, Environment, Evidence, ExecutionEvidence, REPORT_VERSION, Run, RunOptions, RunSet, Subject,
    Summary, Tool, Verdict,
};
use cnitest_reports::{ReportKind, report};

type Outcome = Result<(), Box<dyn Error>>;

/// The targets whose seeds are a record.
const RECORDED: [&str; 3] = ["namespace", "nftables", "stored"];
/// Longer files of the repository are no seeds: small ones get further in the same time.
const LONGEST: usize = 6000;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn put(target: &str, name: &str, content: &[u8]) -> Outcome {
    assert!(TARGETS.iter().any(|known| known.name == target), "{target}");
    fs::write(corpus(target).join(name), content)?;
    Ok(())
}

fn main() -> Outcome {
    let recorded = std::env::args().nth(1).as_deref() == Some("namespace");
    for target in TARGETS.iter().filter(|target| RECORDED.contains(&target.name) == recorded) {
        let folder = corpus(target.name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
    }
    if recorded {
        return from_kernel();
    }
    from_fixtures()?;
    from_generator()?;
    from_targets()?;
    from_reports()?;
    by_hand()
}

/// What the kernel says of the namespace, and the files that plugins leave.
fn from_kernel() -> Outcome {
    let record = cnitest::fuzzing::record()?;
    put("namespace", "namespace", &record)?;
    for (index, rule) in cnitest::fuzzing::rules(&record).iter().enumerate() {
        put("nftables", &format!("rule-{index}"), rule)?;
    }
    let mut seen = BTreeSet::new();
    for (index, payload) in cnitest::fuzzing::payloads(&record).iter().enumerate() {
        // One of each length is enough.
        if seen.insert(payload.len()) && payload.len() < 1500 {
            put("stored", &format!("message-{index}"), payload)?;
        }
    }
    let backup = r#"{"network":"n","containerID":"c","ifname":"eth0","netnsPath":"/run/netns/c","netns":[4,4026531840],"interface":2,"before":{"mac":"02:00:00:00:00:01","mtu":1500,"promisc":false,"allmulti":null,"txQLen":1000,"sysctl":{"net/ipv4/conf/eth0/arp_filter":"0"}}}"#;
    put("stored", "backup", backup.as_bytes())?;
    put(
        "stored",
        "resolv",
        b"nameserver 10.1.0.1\nsearch a.example b.example\noptions ndots:5 rotate\ndomain example\n",
    )?;
    put("stored", "allowlist", b"^net\\.core\\.somaxconn$\n^net\\.ipv4\\.conf\\.[A-Z]*\\.arp_.*$\n")
}

/// The position of a version as `Bytes::version` reads it.
fn position(version: Version) -> u8 {
    (Version::ALL.len() - 1 - version as usize) as u8
}

/// The accepted documents of the fixtures, for whoever reads text.
fn from_fixtures() -> Outcome {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/fixtures/accept");
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        for version in Version::ALL {
            let Ok(entries) = fs::read_dir(fixtures.join(kind.as_str()).join(version.as_str())) else {
                continue;
            };
            let mut paths: Vec<PathBuf> =
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
            paths.sort();
            for path in paths {
                let text = fs::read(&path)?;
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                // Of every version the fullest documents only; the rest differs little.
                if text.len() > LONGEST || !(stem.contains("full") || version == Version::LATEST) {
                    continue;
                }
                let name = format!("{version}-{stem}");
                let compact = serde_json::from_slice::<serde_json::Value>(&text)?.to_string();
                match kind {
                    Kind::ConfigList | Kind::ConfigSingle => put("config", &name, compact.as_bytes())?,
                    Kind::ResultAdd | Kind::ResultIpam => {
                        put(
                            "result",
                            &format!("{kind}-{name}"),
                            &[&[position(version)], compact.as_bytes()].concat(),
                        )?;
                    }
                    Kind::ResultVersion => put("version", &name, compact.as_bytes())?,
                    Kind::Error => put("error", &name, compact.as_bytes())?,
                    _ => {}
                }
                if stem.contains("full") && [Version::LATEST, Version::V0_3_1].contains(&version) {
                    put(
                        "schemas",
                        &format!("{kind}-{name}"),
                        &[&[index as u8], compact.as_bytes()].concat(),
                    )?;
                    // As text, for the parsers that the types agree with.
                    let head = [index as u8, position(version), 3];
                    put("agreement", &format!("text-{kind}-{name}"), &[&head, compact.as_bytes()].concat())?;
                }
            }
        }
    }
    Ok(())
}

/// Decisions of the generator, each written down until its document is whole.
fn from_generator() -> Outcome {
    let (mut seed, mut made) = (1, Made::new());
    for target in ["generate", "mutate", "text"] {
        for kind in 0..Kind::ALL.len() as u8 {
            for (version, profile) in [(0, 0), (0, 1), (2, 0)] {
                seed += 1;
                let mut head = vec![kind, version, profile, seed as u8 % 6, 4];
                if target == "text" {
                    head = [
                        vec![seed as u8 % TextKind::ALL.len() as u8, seed as u8 % Operation::ALL.len() as u8],
                        head,
                    ]
                    .concat();
                }
                if target == "mutate" {
                    head.push(seed as u8);
                }
                put(
                    target,
                    &format!("{kind}-{version}-{profile}"),
                    &[head, decisions(&mut made, kind, version, seed)].concat(),
                )?;
            }
        }
    }
    for kind in 0..Kind::ALL.len() as u8 {
        for way in [0, 1] {
            seed += 1;
            let head = [kind, 0, way, 0, 4, seed as u8];
            put(
                "agreement",
                &format!("{kind}-{way}"),
                &[&head[..], &decisions(&mut made, kind, 0, seed)].concat(),
            )?;
        }
    }
    for plugin in 0..cni_plugins::NAMES.len() as u8 {
        for operation in 0..Operation::ALL.len() as u8 - 1 {
            seed += 1;
            let head = [plugin, operation, 0, seed as u8 % 2, 0, 1, 0, 4];
            put(
                "plugins",
                &format!("{plugin}-{operation}"),
                &[&head[..], &decisions(&mut made, 2, 0, seed)].concat(),
            )?;
        }
    }
    Ok(())
}

/// Generators, each made once.
type Made = HashMap<(Kind, Version), Option<Generator>>;

/// What the generator decides for a document of about the size that the targets ask for.
fn decisions(made: &mut Made, kind: u8, version: u8, seed: u64) -> Vec<u8> {
    let kind = Kind::ALL[usize::from(kind)];
    let version = Version::ALL[Version::ALL.len() - 1 - usize::from(version)];
    let mut written = Written::new(Random::new(seed));
    let made = made.entry((kind, version)).or_insert_with(|| {
        cni_schemas::Composed::base(kind, version, Profile::Compat)
            .ok()
            .and_then(|composed| composed.generator().ok())
    });
    if let Some(generator) = made {
        drop(generator.generate(&mut written, 4));
    }
    written.bytes.truncate(400);
    written.bytes
}

fn from_targets() -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/targets");
    for name in ["bridge", "host-local", "meta", "portmap", "template", "tuning"] {
        put("target", name, &fs::read(folder.join(format!("{name}.toml")))?)?;
    }
    Ok(())
}

fn a_run() -> Run {
    let result = |check: &str, requirement: &str, verdict| CaseResult {
        check: check.to_owned(),
        title: "DEL can be repeated".to_owned(),
        requirements: vec![requirement.to_owned()],
        level: "MUST".to_owned(),
        spec_version: Some("1.1.0".to_owned()),
        case: "gateway".to_owned(),
        verdict,
        skip_cause: None,
        known: None,
        broken: Vec::new(),
        reason: Some("DEL exit status 1".to_owned()),
        evidence: Some(Evidence {
            expected: "exit status 0".to_owned(),
            observed: "exit status 1".to_owned(),
            executions: vec![ExecutionEvidence {
                label: "DEL".to_owned(),
                program: "/opt/cni/bin/bridge".to_owned(),
                environment: [("CNI_COMMAND".to_owned(), "DEL".to_owned())].into(),
                stdin: r#"{"cniVersion":"1.1.0","name":"n"}"#.to_owned(),
                exit: "exit status 1".to_owned(),
                stdout: r#"{"code":7,"msg":"m"}"#.to_owned(),
                stderr: "a\u{1b}[31m\n".to_owned(),
                stdout_truncated: false,
                stderr_truncated: true,
                wall_ms: 6.5,
                cpu_ms: 2.25,
                peak_rss_kib: 9000,
            }],
            kernel_difference: vec!["+ link veth1".to_owned()],
        }),
        reproducer: Some("#!/bin/sh\nexit 1\n".to_owned()),
        duration_ms: 12.25,
    };
    let mut run = Run {
        report_version: REPORT_VERSION.to_owned(),
        tool: Tool { name: "cnitest".to_owned(), version: "0.1.0".to_owned() },
        environment: Environment {
            kernel: "6.18.5".to_owned(),
            arch: "x86_64".to_owned(),
            privilege: "root".to_owned(),
            missing_features: vec!["vlan".to_owned()],
        },
        seed: 1,
        strict: false,
        options: RunOptions::default(),
        started: "2026-01-02T03:04:05Z".to_owned(),
        duration_ms: 12_345.5,
        subject: Subject {
            kind: "plugin".to_owned(),
            name: "bridge".to_owned(),
            path: "/opt/cni/bin/bridge".to_owned(),
            sha256: "0".repeat(64),
            supported_versions: vec!["1.1.0".to_owned()],
            target: Some("bridge".to_owned()),
            target_note: None,
            upgrade_from: None,
        },
        results: vec![
            result("del.repeated", "del.idempotent", Verdict::Fail),
            result("version.echo", "version.cniversion-echo", Verdict::Warn),
        ],
        baseline: None,
        fuzz: None,
        summary: Summary::default(),
        conformant: false,
    };
    run.finish();
    run
}

fn from_reports() -> Outcome {
    let run = a_run();
    let mut certificate = Certificate {
        certificate_version: CERTIFICATE_VERSION.to_owned(),
        tool: run.tool.clone(),
        environment: run.environment.clone(),
        seed: run.seed,
        strict: run.strict,
        options: run.options.clone(),
        started: run.started.clone(),
        subject: run.subject.clone(),
        profile: Some("interface".to_owned()),
        spec_versions: vec!["1.1.0".to_owned()],
        result: CertificateResult::Undecided,
        limits: Vec::new(),
        core: Section::of("core", &run.results.iter().collect::<Vec<_>>(), false, run.strict, None),
        features: vec![Section::of(
            "mac",
            &[],
            true,
            run.strict,
            Some("no configuration hands over mac".to_owned()),
        )],
    };
    certificate.finish();
    let mut text = Vec::new();
    CertificateSet::new(vec![certificate]).write(&mut text)?;
    put("certificate", "one", &text)?;
    let set = RunSet::new(vec![run]);
    for (name, kind) in [("run", ReportKind::Json), ("baseline", ReportKind::Baseline)] {
        let mut text = Vec::new();
        report(kind, &set, &mut text)?;
        put("report", name, &text)?;
    }
    let judgements = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/ecosystem/judgements.toml");
    let text = fs::read_to_string(judgements)?;
    let three: Vec<&str> = text.split("[[judgement]]").take(4).collect();
    put("report", "judgements", three.join("[[judgement]]").as_bytes())
}

/// The counters of two functions, as Go 1.20 and LLVM 19 write them.
fn counters() -> Outcome {
    let mut go =
        [&b"\0cwm\x01\0\0\0"[..], &std::array::from_fn::<u8, 16, _>(|at| at as u8), b"\x02\0\0\0\0\0\0\0"]
            .concat();
    go.extend(b"\x02\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0argc\0\0\0\0");
    go.extend([3, 0, 3, 1, 0, 0xac, 2, 1, 1, 3, 1]);
    go.extend(b"\0cwm\0\0\0\0\x01\0\0\0\0\0\0\0");
    put("counters", "go", &go)?;
    let mut header = [0_u64; 16];
    header[..6].copy_from_slice(&[u64::from_be_bytes(*b"\xfflprofr\x81"), 10, 8, 1, 0, 3]);
    let mut llvm: Vec<u8> = header.iter().flat_map(|number| number.to_le_bytes()).collect();
    llvm.extend([0; 72]);
    llvm.extend([0_u64, 1, 300].iter().flat_map(|number| number.to_le_bytes()));
    put("counters", "llvm", &llvm)
}

fn by_hand() -> Outcome {
    put("scenario", "steps", br#"{"version":"1.1.0","configuration":"gateway","plugin":{"type":"bridge","mtu":1400.5e1},"args":"A=${container}","settle":false,"steps":[{"do":"operate","operation":"ADD","at":{"container":1,"interface":1,"network":1}},{"do":"together","operation":"DEL","at":[{"container":0},{"container":2}]},{"do":"kill","operation":"ADD","at":{"container":0},"after":200},{"do":"collect","network":0,"valid":true},{"do":"status","network":0},{"do":"version"},{"do":"delete-netns","container":0},{"do":"remove-interface","at":{"container":0}}]}"#)?;
    put("scenario", "faults", br#"{"version":"0.3.1","configuration":"one","plugin":{"type":"static","ipam":{"type":"static","addresses":[{"address":"10.1.0.2/24"}]}},"steps":[{"do":"broken","operation":"ADD","at":{"container":0},"fault":{"kind":"document","edits":[{"at":"/ipam/addresses/0/address","value":null},{"at":"/ipam/type"}],"requirement":"config.name-required","code":7}},{"do":"broken","operation":"DEL","at":{"container":0},"fault":{"kind":"text","change":"truncated","seed":3}},{"do":"broken","operation":"CHECK","at":{"container":0},"fault":{"kind":"environment","variable":"CNI_IFNAME","value":null,"requirement":"param.ifname-charset","code":4}}]}"#)?;
    put("scenario", "finding", br#"{"plugin":"static","target":"static","requirement":"del.idempotent","how":"DEL: exit status 1","scenario":{"version":"1.1.0","configuration":"one","plugin":{"type":"static"},"steps":[{"do":"version"}]}}"#)?;
    counters()?;
    put("args", "kubernetes", b"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a-b.c;EMPTY=")?;
    put("args", "odd", b"A=B;;C=D")?;
    put("environment", "add", b"CNI_COMMAND=ADD\nCNI_CONTAINERID=c1\nCNI_NETNS=/run/netns/c1\nCNI_IFNAME=eth0\nCNI_PATH=/opt/cni/bin\nCNI_ARGS=A=B")?;
    put("environment", "odd", b"CNI_COMMAND=GC\nCNI_PATH=\nCNI_CONTAINERID=-x\nCNI_IFNAME=a/b")?;
    put("version", "numbers", b"1.1.0\n1.0\n0.4.0-rc.1+build\nv1\n1.1.0\n0.4.0\n")?;
    for (index, message) in cnitest::fuzzing::messages().iter().enumerate() {
        put("control", &format!("message-{index}"), message)?;
    }
    // An empty IPv4 table `filter` with one chain of the user and one rule.
    let mut info = [0; 84];
    info[..6].copy_from_slice(b"filter");
    info[32..36].copy_from_slice(&0b1110_u32.to_ne_bytes());
    let entry = |name: &[u8], data: &[u8]| {
        let mut entry = vec![0; 112];
        let size = 32 + data.len();
        entry[88..90].copy_from_slice(&112_u16.to_ne_bytes());
        entry[90..92].copy_from_slice(&(112 + size as u16).to_ne_bytes());
        let mut head = vec![0; 32];
        head[..2].copy_from_slice(&(size as u16).to_ne_bytes());
        head[2..2 + name.len()].copy_from_slice(name);
        [entry, head, data.to_vec()].concat()
    };
    let verdict = |code: i32| [&code.to_ne_bytes()[..], &[0; 4]].concat();
    let mut chain = [0; 32];
    chain[..5].copy_from_slice(b"CHAIN");
    let mut last = [0; 32];
    last[..5].copy_from_slice(b"ERROR");
    let entries = [
        entry(b"", &verdict(-2)),
        entry(b"ERROR", &chain),
        entry(b"DNAT", &[1; 24]),
        entry(b"", &verdict(-5)),
        entry(b"ERROR", &last),
    ];
    put("iptables", "filter", &[&info[..], &entries.concat()].concat())
}
