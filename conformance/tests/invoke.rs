//! Executions: each way in which a program can end, or refuse to.

#[path = "arena_support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use cnitest::arena::{Arena, NetOp, Place, Scope};
use cnitest::invoke::{Execution, Invocation, Limits, Outcome, Stdin};

use support::{arena, config, run, shell, until_run};

fn execute(arena: &mut Arena, invocation: &Invocation) -> Execution {
    arena.execute(invocation).expect("the arena answers")
}

fn nothing_left(arena: &mut Arena) {
    let scope = Scope { processes: true, ..Scope::nothing() };
    assert_eq!(arena.snapshot(scope).expect("snapshot").processes, Vec::<String>::new());
}

#[test]
fn environment_arguments_and_directory_are_exact() {
    let mut arena = arena();
    let cat = Invocation::new("/bin/cat").arg("/proc/self/environ").arg("/proc/self/cmdline");
    let cat = cat.env("B", "1").env("A", "x=y z").env("B", "2").env("EMPTY", "");
    let execution = execute(&mut arena, &cat);
    assert_eq!(
        execution.stdout_text(),
        "B=1\0A=x=y z\0B=2\0EMPTY=\0/bin/cat\0/proc/self/environ\0/proc/self/cmdline\0"
    );
    let here = Invocation::new("/bin/readlink").arg("/proc/self/cwd").working_directory("/usr/bin");
    assert_eq!(execute(&mut arena, &here).stdout_text(), "/usr/bin\n");
    let bare = execute(&mut arena, &Invocation::new("/bin/cat").arg("/proc/self/environ"));
    assert_eq!(bare.stdout_text(), "", "nothing is inherited");
}

#[test]
fn descriptors_signals_and_session_are_clean() {
    let mut arena = arena();
    let listed = execute(&mut arena, &Invocation::new("/bin/ls").arg("/proc/self/fd"));
    assert_eq!(listed.stdout_text(), "0\n1\n2\n3\n", "3 is the directory being listed");
    let status = execute(&mut arena, &Invocation::new("/bin/cat").arg("/proc/self/status")).stdout_text();
    for line in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"] {
        assert!(status.contains(line), "{status}");
    }
    let stat = execute(&mut arena, &Invocation::new("/bin/cat").arg("/proc/self/stat")).stdout_text();
    let fields: Vec<&str> = stat.split(' ').collect();
    assert_eq!(fields[4], fields[0], "it leads its process group: {stat}");
    assert_eq!((fields[5], fields[6]), ("1", "0"), "its session is the agent's and has no terminal: {stat}");
}

#[test]
fn descriptors_are_the_programs_own_however_many_there_are() {
    let mut arena = arena();
    // Three descriptors each.
    let places: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
    for name in &places {
        arena.create_netns(name).expect("a namespace");
    }
    let list = || Invocation::new("/bin/ls").arg("/proc/self/fd");
    for place in [Place::Host, Place::container("c99")] {
        let listed = execute(&mut arena, &list().netns(place));
        assert_eq!(listed.stdout_text(), "0\n1\n2\n3\n");
    }
    // As many pipes: some have higher numbers than the first of those.
    let many: Vec<Invocation> = (0..60)
        .map(|number| shell("read line; echo $line; ls /proc/self/fd").input(format!("{number}\n")))
        .collect();
    for (number, execution) in (0..).zip(arena.execute_all(&many).expect("the arena answers")) {
        assert_eq!(execution.stdout_text(), format!("{number}\n0\n1\n2\n3\n"));
    }
    // The arena's own are as they were.
    arena.delete_netns("c0").expect("it is there");
    let snapshot = arena.snapshot(Scope::usual()).expect("snapshot");
    assert_eq!(snapshot.containers.len(), 99);
}

#[test]
fn stdin_can_be_anything() {
    let mut arena = arena();
    let link = Invocation::new("/bin/readlink").arg("/proc/self/fd/0");
    let closed = execute(&mut arena, &link.clone().stdin(Stdin::Closed));
    assert_eq!((&closed.outcome, closed.stdout_text()), (&Outcome::Exited(1), String::new()));
    assert_eq!(execute(&mut arena, &link.clone().stdin(Stdin::Directory)).stdout_text(), "/\n");
    let read = execute(&mut arena, &Invocation::new("/bin/cat").stdin(Stdin::Directory));
    assert!(read.stderr_text().contains("directory"), "{}", read.stderr_text());
    assert_eq!(execute(&mut arena, &Invocation::new("/bin/cat")).outcome, Outcome::Exited(0), "empty ends");
    let cat = Invocation::new("/bin/cat").stdin(Stdin::OpenForever(b"abc".to_vec()));
    let open = execute(&mut arena, &cat.timeout(Duration::from_millis(200)));
    assert_eq!((open.outcome, open.stdout.as_slice()), (Outcome::TimedOut { stopped: false }, &b"abc"[..]));
    let head = Invocation::new("/usr/bin/head").args(["-c", "2"]);
    let open = execute(&mut arena, &head.stdin(Stdin::OpenForever(b"abc".to_vec())));
    assert_eq!((open.outcome, open.stdout.as_slice()), (Outcome::Exited(0), &b"ab"[..]));
}

#[test]
fn long_stdin_is_read_or_counted() {
    let mut arena = arena();
    let long = vec![b'x'; 3 << 20];
    let read = execute(&mut arena, &Invocation::new("/usr/bin/wc").arg("-c").input(long.clone()));
    assert_eq!((read.stdout_text().trim(), read.stdin_unread), ("3145728", 0));
    let unread = execute(&mut arena, &Invocation::new("/bin/true").input(long.clone()));
    assert_eq!((unread.outcome, unread.stdin_unread), (Outcome::Exited(0), 3 << 20));
    let unread = execute(&mut arena, &Invocation::new("/bin/true").input("0123456789"));
    assert_eq!((unread.outcome, unread.stdin_unread), (Outcome::Exited(0), 10));
    let early = execute(&mut arena, &shell("exec 0<&-; sleep 0.05; echo ok").input(long));
    assert_eq!((&early.outcome, early.stdout_text().as_str()), (&Outcome::Exited(0), "ok\n"));
}

#[test]
fn endings_are_told_apart() {
    let mut arena = arena();
    assert_eq!(execute(&mut arena, &shell("exit 7")).outcome, Outcome::Exited(7));
    assert_eq!(execute(&mut arena, &shell("kill -SEGV $$")).outcome, Outcome::Signaled(11));
    assert_eq!(execute(&mut arena, &shell("kill -PIPE $$")).outcome, Outcome::Signaled(13));
    let late = execute(&mut arena, &shell("sleep 100").timeout(Duration::from_millis(100)));
    assert_eq!(late.outcome, Outcome::TimedOut { stopped: false });
    assert!(late.wall < Duration::from_secs(5), "{:?}", late.wall);
    assert_eq!(late.left_behind, Vec::<String>::new(), "its session was killed with it");
    nothing_left(&mut arena);
}

#[test]
fn one_that_stops_itself_is_seen_before_its_deadline() {
    let mut arena = arena();
    let stopped = execute(&mut arena, &shell("kill -STOP $$").timeout(Duration::from_secs(60)));
    assert_eq!(stopped.outcome, Outcome::TimedOut { stopped: true });
    assert!(stopped.wall < Duration::from_secs(30), "{:?}", stopped.wall);
    let continued = "(sleep 0.1; kill -CONT $$) & kill -STOP $$; wait; echo on";
    let execution = execute(&mut arena, &shell(continued).timeout(Duration::from_secs(60)));
    assert!(
        matches!(execution.outcome, Outcome::Exited(0) | Outcome::TimedOut { stopped: true }),
        "on a slow machine the other process may come too late: {}",
        execution.outcome
    );
    nothing_left(&mut arena);
}

#[test]
fn floods_are_cut() {
    let mut arena = arena();
    let mut flood = shell("yes & yes >&2").timeout(Duration::from_millis(300));
    flood.output_cap = 1000;
    let execution = execute(&mut arena, &flood);
    assert_eq!(execution.outcome, Outcome::TimedOut { stopped: false });
    assert_eq!((execution.stdout.len(), execution.stderr.len()), (1000, 1000));
    assert!(execution.stdout_truncated && execution.stderr_truncated);
    let mut whole = shell("printf 12345");
    whole.output_cap = 5;
    let execution = execute(&mut arena, &whole);
    assert_eq!((execution.stdout_text().as_str(), execution.stdout_truncated), ("12345", false));
    let long = execute(&mut arena, &shell("head -c 900000 /dev/zero"));
    assert_eq!((long.stdout.len(), long.stdout_truncated), (900_000, false));
    nothing_left(&mut arena);
}

#[test]
fn what_outlives_the_program_is_named_and_killed() {
    let mut arena = arena();
    let started = Instant::now();
    let execution = run(&mut arena, &format!("sleep 1000 & {}; echo done", until_run(1, "sleep 1000")));
    assert_eq!(execution.left_behind, ["sleep"]);
    assert!(execution.holds_output);
    assert_eq!(execution.stdout_text(), "done\n");
    let execution = run(
        &mut arena,
        &format!(
            "setsid sleep 1000 >/dev/null 2>&1 </dev/null & sleep 1000 >/dev/null 2>&1 & {}",
            until_run(2, "sleep 1000")
        ),
    );
    assert_eq!(execution.left_behind, ["sleep", "sleep"]);
    assert!(!execution.holds_output);
    assert!(started.elapsed() < Duration::from_secs(30));
    let execution = run(&mut arena, "(sleep 0.01; echo late) & true");
    if execution.left_behind.is_empty() {
        assert_eq!(execution.stdout_text(), "late\n", "one that ends in a moment is waited for");
    }
    let execution = execute(
        &mut arena,
        &shell(&format!("trap '' TERM HUP INT; setsid sleep 1000 & {}; exit 3", until_run(1, "sleep 1000"))),
    );
    assert_eq!(
        (execution.outcome, execution.left_behind.as_slice()),
        (Outcome::Exited(3), &["sleep".to_owned()][..])
    );
    nothing_left(&mut arena);
    assert_eq!(run(&mut arena, "true").left_behind, Vec::<String>::new());
}

#[test]
fn a_fork_bomb_ends() {
    let mut arena =
        Arena::start(&cnitest::arena::ArenaConfig { process_ids: 400, ..config() }).expect("arena");
    let mut bomb = shell("b() { b | b & }; b; sleep 100").timeout(Duration::from_millis(500));
    bomb.limits.processes = Some(100);
    let execution = execute(&mut arena, &bomb);
    assert_ne!(execution.outcome, Outcome::Exited(0));
    nothing_left(&mut arena);
    assert_eq!(run(&mut arena, "echo well").stdout_text(), "well\n");
}

#[test]
fn what_cannot_start_says_why() {
    let mut arena = arena();
    arena.write_file("/tmp/script", "#!/none/such\n", 0o755).expect("written");
    arena.write_file("/tmp/plain", "#!/bin/sh\n", 0o644).expect("written");
    arena.write_file("/tmp/text", "hello\n", 0o755).expect("written");
    arena.write_file("/tmp/empty", "", 0o755).expect("written");
    for (program, errno, part) in [
        ("/none", libc_errno("ENOENT"), "no such file"),
        ("/tmp/script", libc_errno("ENOENT"), "/none/such does not exist"),
        ("/tmp/plain", libc_errno("EACCES"), "no execute permission"),
        ("/tmp", libc_errno("EACCES"), "directory"),
        ("/tmp/text", libc_errno("ENOEXEC"), "#!"),
        ("/tmp/empty", libc_errno("ENOEXEC"), "empty"),
        ("/tmp/a\0b", libc_errno("EINVAL"), "zero byte"),
    ] {
        let Outcome::NotStarted { errno: found, message } =
            execute(&mut arena, &Invocation::new(program)).outcome
        else {
            panic!("{program:?} started");
        };
        assert_eq!(found, errno, "{message}");
        assert!(message.contains(part), "{message}");
    }
    let elsewhere = execute(&mut arena, &Invocation::new("/bin/true").working_directory("/none"));
    assert!(elsewhere.outcome.to_string().contains("working directory /none"), "{}", elsewhere.outcome);
    let nowhere = execute(&mut arena, &Invocation::new("/bin/true").netns(Place::container("none")));
    assert!(nowhere.outcome.to_string().contains("no network namespace none"), "{}", nowhere.outcome);
}

fn libc_errno(name: &str) -> i32 {
    match name {
        "ENOENT" => 2,
        "ENOEXEC" => 8,
        "EACCES" => 13,
        _ => 22,
    }
}

#[test]
fn limits_are_set() {
    let mut arena = arena();
    let mut limited = Invocation::new("/bin/cat").arg("/proc/self/limits");
    limited.limits = Limits {
        address_space: Some(1 << 30),
        open_files: Some(77),
        processes: Some(33),
        file_size: Some(4096),
        core: Some(0),
    };
    let text = execute(&mut arena, &limited).stdout_text();
    for (name, value) in [
        ("Max address space", "1073741824"),
        ("Max open files", "77"),
        ("Max processes", "33"),
        ("Max file size", "4096"),
        ("Max core file size", "0"),
    ] {
        let line = text.lines().find(|line| line.starts_with(name)).expect("a line");
        let fields: Vec<&str> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(fields, [value, value], "{line}");
    }
    limited.program = "/bin/sh".into();
    limited.args = vec!["-c".into(), "exec head -c 10000 /dev/zero >/tmp/x".into()];
    assert_eq!(execute(&mut arena, &limited).outcome, Outcome::Signaled(25));
    assert_eq!(arena.read_file("/tmp/x").expect("written").len(), 4096);
}

#[test]
fn use_of_the_machine_is_accounted() {
    let mut arena = arena();
    let busy = run(&mut arena, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
    assert!(busy.user_cpu > Duration::from_millis(5), "{:?}", busy.user_cpu);
    assert!(busy.wall >= busy.user_cpu / 2);
    assert!(busy.peak_rss_kib > 100);
    let idle = run(&mut arena, "sleep 0.2");
    assert!(idle.wall >= Duration::from_millis(200));
    assert!(idle.user_cpu < idle.wall);
}

#[test]
fn a_program_starts_in_the_network_it_is_given() {
    let mut arena = arena();
    arena.create_netns("c1").expect("namespace");
    let op = NetOp::AddVeth { a: "hosta".into(), b: "contb".into(), peer_place: Place::container("c1") };
    arena.network(&Place::Host, &op).expect("veth");
    let dev = Invocation::new("/bin/cat").arg("/proc/self/net/dev");
    let host = execute(&mut arena, &dev).stdout_text();
    let container = execute(&mut arena, &dev.clone().netns(Place::container("c1"))).stdout_text();
    assert!(host.contains("hosta:") && !host.contains("contb:"), "{host}");
    assert!(container.contains("contb:") && !container.contains("hosta:"), "{container}");
}

#[test]
fn several_run_at_the_same_time() {
    let mut arena = arena();
    let meet = |mine: &str, other: &str| {
        shell(&format!(
            "touch /tmp/{mine}; while [ ! -e /tmp/{other} ]; do sleep 0.01; done; cat; echo {mine}"
        ))
        .timeout(Duration::from_secs(60))
    };
    let leaves = shell(&format!("setsid sleep 1000 >/dev/null & {}; exit 4", until_run(1, "sleep 1000")))
        .env("WHO", "leaves");
    let all = [meet("a", "b").input("1"), meet("b", "a").input("2"), leaves, Invocation::new("/none")];
    let executions = arena.execute_all(&all).expect("the arena answers");
    let text: Vec<String> = executions.iter().map(Execution::stdout_text).collect();
    assert_eq!(text, ["1a\n", "2b\n", "", ""]);
    assert_eq!(executions[2].outcome, Outcome::Exited(4));
    assert!(matches!(executions[3].outcome, Outcome::NotStarted { errno: 2, .. }));
    let left: Vec<&[String]> = executions.iter().map(|execution| execution.left_behind.as_slice()).collect();
    assert_eq!(left, [&[][..], &[], &["sleep".to_owned()], &[]], "each has its own");
    nothing_left(&mut arena);
    assert_eq!(arena.execute_all(&[]).expect("the arena answers"), []);
}

#[test]
fn programs_run_one_after_another_until_one_hangs() {
    let mut arena = arena();
    let count = || shell("cat >>/tmp/count; wc -c </tmp/count").input("x");
    let executions = arena.execute_each(vec![count(), count(), count()]).expect("the arena answers");
    let text: Vec<String> = executions.iter().map(Execution::stdout_text).collect();
    assert_eq!(text, ["1\n", "2\n", "3\n"]);
    let hangs = shell("sleep 1000").timeout(Duration::from_millis(100));
    let executions = arena.execute_each(vec![count(), hangs, count()]).expect("the arena answers");
    assert_eq!(executions.len(), 2, "what comes after the hang is not run");
    assert_eq!(executions[1].outcome, Outcome::TimedOut { stopped: false });
    assert_eq!(run(&mut arena, "wc -c </tmp/count").stdout_text(), "4\n");
    assert_eq!(arena.execute_each(Vec::new()).expect("the arena answers"), []);
}

#[test]
fn background_programs_stay_until_they_are_stopped() {
    let mut arena = arena();
    let sleeper = arena.start_background(&shell("sleep 1000 & wait")).expect("started");
    let noisy = arena.start_background(&shell("echo hello; exec yes")).expect("started");
    let execution = run(&mut arena, &format!("sleep 1000 & {}", until_run(2, "sleep 1000")));
    assert_eq!(execution.left_behind, ["sleep"], "the background program's own is not its");
    let execution = run(&mut arena, "true");
    assert_eq!(execution.left_behind, Vec::<String>::new());
    let stopped = arena.stop_background(noisy).expect("stopped");
    assert!(stopped.stdout_text().starts_with("hello\ny\n"));
    assert_eq!(stopped.outcome, Outcome::Signaled(15));
    arena.stop_background(noisy).expect_err("stopped before");
    let stopped = arena.stop_background(sleeper).expect("stopped");
    assert_eq!(stopped.outcome, Outcome::Signaled(15));
    nothing_left(&mut arena);
    let ended = arena.start_background(&shell("exit 5")).expect("started");
    run(&mut arena, "sleep 0.2");
    assert_eq!(arena.stop_background(ended).expect("stopped").outcome, Outcome::Exited(5));
    arena.start_background(&Invocation::new("/none")).expect_err("does not start");
}

#[test]
fn every_test_holds_for_an_ordinary_user() {
    support::repeat_as_ordinary_user("every_test_holds_for_an_ordinary_user");
    let id = run(&mut arena(), "id -u").stdout_text();
    assert_eq!(id, "0\n", "a plugin is root in its arena, whoever runs cnitest");
}

#[test]
fn programs_run_side_by_side() {
    let mut arena = arena();
    let brief = Duration::from_millis(10);
    // Each waits for the other: neither could end alone.
    let meet = |own: &str, other: &str| {
        shell(&format!(
            "mkfifo /run/{own} 2>/dev/null; : >/run/came-{own}; while [ ! -e /run/came-{other} ]; do sleep 0.01; done; echo {own}"
        ))
    };
    let ended = arena.advance(vec![(7, meet("a", "b"))], brief).expect("the arena answers");
    assert!(ended.is_empty(), "it waits for the other");
    // Other requests are answered meanwhile.
    run(&mut arena, "true");
    let mut all =
        arena.advance(vec![(9, meet("b", "a"))], Duration::from_secs(20)).expect("the arena answers");
    while all.len() < 2 {
        all.extend(arena.advance(Vec::new(), Duration::from_secs(20)).expect("the arena answers"));
    }
    all.sort_by_key(|(number, _)| *number);
    let seen: Vec<(u64, String)> = all.iter().map(|(number, one)| (*number, one.stdout_text())).collect();
    assert_eq!(seen, [(7, "a\n".to_owned()), (9, "b\n".to_owned())]);
    assert!(arena.advance(Vec::new(), Duration::from_secs(20)).expect("at once").is_empty(), "nothing runs");
    let missing =
        arena.advance(vec![(1, Invocation::new("/nonexistent"))], brief).expect("the arena answers");
    assert!(matches!(missing[0], (1, Execution { outcome: Outcome::NotStarted { .. }, .. })));
    let slow = shell("sleep 100").timeout(Duration::from_millis(50));
    let late = arena.advance(vec![(2, slow)], Duration::from_secs(20)).expect("the arena answers");
    assert_eq!(late[0].1.outcome, Outcome::TimedOut { stopped: false });
    arena.advance(vec![(3, shell("sleep 100 & sleep 100"))], brief).expect("the arena answers");
    assert!(arena.reset().expect("reset"), "what runs ends with a reset");
    nothing_left(&mut arena);
}
