//! CPU time. Unlike elapsed time, it does not depend much on the other programs of the machine.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::cluster::Cluster;

/// Linux counts CPU time in hundredths of a second (USER_HZ) on every architecture that matters.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of a process so far, user and system.
pub fn of(process: u32) -> anyhow::Result<f64> {
    read(&Path::new("/proc").join(process.to_string()))
}

/// CPU seconds of all processes involved except the operator: the control plane and this program.
pub fn of_others(cluster: &Cluster) -> anyhow::Result<f64> {
    let directory = cluster.directory.as_os_str().as_encoded_bytes();
    let mut seconds = of(std::process::id())?;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let command = fs::read(path.join("cmdline")).unwrap_or_default();
        let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
        let daemon = [&b"kube-apiserver"[..], b"etcd", b"kube-controller-manager"];
        if daemon.iter().any(|name| program.ends_with(name))
            && command.windows(directory.len()).any(|part| part == directory)
        {
            seconds += read(&path)?;
        }
    }
    Ok(seconds)
}

fn read(directory: &Path) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(directory.join("stat"))?;
    // The name of the program, in parentheses, may contain spaces.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}
