//! The report for `diff`.

mod common;

use cnitest_reports::model::{RunSet, Verdict};
use cnitest_reports::{ReportKind, report};

use common::{case, run};

#[test]
fn each_deviation_is_one_sorted_line() {
    let mut anywhere = case("a.last", "x.y", "1.1.0", "", Verdict::Error);
    anywhere.spec_version = None;
    let bridge = run(
        "bridge",
        vec![
            case("b.check", "x.y", "1.1.0", "one", Verdict::Fail),
            case("b.check", "x.y", "1.0.0", "two", Verdict::Fail),
            case("b.check", "x.y", "1.0.0", "one", Verdict::Fail),
            case("b.check", "x.z", "0.4.0", "one", Verdict::Fail),
            case("a.check", "x.y", "1.1.0", "one", Verdict::Warn),
            case("a.pass", "x.y", "1.1.0", "one", Verdict::Pass),
            case("a.skip", "x.y", "1.1.0", "one", Verdict::Skip),
            anywhere,
        ],
    );
    let set = RunSet::new(vec![bridge, run("arp", vec![case("b.check", "x.y", "1.1.0", "", Verdict::Fail)])]);
    let mut out = Vec::new();
    report(ReportKind::Deviations, &set, &mut out).expect("memory");
    let lines = [
        "arp fail b.check x.y 1.1.0",
        "bridge error a.last x.y -",
        "bridge fail b.check x.y 1.0.0,1.1.0",
        "bridge fail b.check x.z 0.4.0",
        "bridge warn a.check x.y 1.1.0",
        "",
    ];
    assert_eq!(String::from_utf8(out).expect("UTF-8"), lines.join("\n"));
}
