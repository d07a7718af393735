//! Certificates of directories over time: what a file contained earlier serves while the file is broken or gone.
//!
//! Pure.

use super::{
    assemble::CertificateWithKey,
    directory::DirectoryReading,
    problem::{CertificateProblem, CertificateProblemKind as Kind},
    scan::Scan,
};
use crate::model::certificate::{Certificate, CertificateOrigin, CertificateValidity};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a file may be broken before this is reported: another program may be writing it.
pub(super) const WRITE_GRACE: Duration = Duration::from_secs(10);

/// Memory of the certificates in directories.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// The last good certificate of each file.
    certificates: BTreeMap<PathBuf, CertificateWithKey>,
    /// When each problem that may be a half-written file is reported, as time since the start.
    due: BTreeMap<CertificateProblem, Duration>,
    has_started: bool,
}

/// The certificates that serve, and the problems to report.
#[derive(Debug)]
pub(super) struct RetainedReading {
    pub certificates: Vec<CertificateWithKey>,
    pub problems: Vec<CertificateProblem>,
    /// When a problem is reported if it still exists then, as time since the start.
    pub look_again: Option<Duration>,
}

/// What happens to a certificate that was read earlier, but is not in its file any more.
enum Fate {
    Drop,
    /// Its file is broken now, which is reported already.
    Keep,
    /// Its file does not exist.
    KeepVanished,
}

impl Retention {
    /// Combines a reading with what was read earlier. `now` is in Unix time, `elapsed` is the time since the start.
    pub(super) fn merge(
        &mut self,
        scan: &Scan,
        reading: DirectoryReading,
        now: i64,
        elapsed: Duration,
    ) -> RetainedReading {
        let mut problems = reading.problems;
        let vanished = self.update_certificates(scan, &problems, reading.certificates, now);
        problems.extend(vanished);
        let mut problems = self.filter_problems(problems, elapsed);
        let certificates: Vec<_> = self.certificates.values().cloned().collect();
        problems.extend(certificates.iter().filter_map(|c| diagnose_validity(&c.certificate, now)));
        let look_again = self.due.values().filter(|due| elapsed < **due).min().copied();
        RetainedReading { certificates, problems, look_again }
    }

    /// Takes over the new certificates, and returns problems of files that do not exist any more.
    fn update_certificates(
        &mut self,
        scan: &Scan,
        problems: &[CertificateProblem],
        new: Vec<CertificateWithKey>,
        now: i64,
    ) -> Vec<CertificateProblem> {
        let broken: BTreeSet<_> = problems.iter().map(|problem| problem.path.as_path()).collect();
        let digests: BTreeSet<_> = new.iter().map(|c| c.certificate.digest).collect();
        let new = new.into_iter().filter_map(|c| Some((file_path(&c.certificate)?.to_owned(), c)));
        let old = std::mem::replace(&mut self.certificates, new.collect());
        let mut vanished = Vec::new();
        for (path, old) in old {
            let is_moved = digests.contains(&old.certificate.digest);
            if is_moved || self.certificates.contains_key(&path) {
                continue;
            }
            let kind = Kind::SourceVanished { not_after: old.certificate.not_after };
            match decide_fate(scan, &broken, &path, &old.certificate, now) {
                Fate::Drop => continue,
                Fate::Keep => {}
                Fate::KeepVanished => vanished.push(CertificateProblem::new(&path, kind)),
            }
            self.certificates.insert(path, old);
        }
        vanished
    }

    /// Returns the problems to report: those that may be a half-written file only after [`WRITE_GRACE`], except in the
    /// first reading.
    fn filter_problems(
        &mut self,
        mut problems: Vec<CertificateProblem>,
        elapsed: Duration,
    ) -> Vec<CertificateProblem> {
        let grace = if self.has_started { WRITE_GRACE } else { Duration::ZERO };
        self.has_started = true;
        let last = std::mem::take(&mut self.due);
        problems.retain(|problem| {
            if !problem.kind.may_be_half_written() {
                return true;
            }
            let due = last.get(problem).copied().unwrap_or(elapsed + grace);
            self.due.insert(problem.clone(), due);
            due <= elapsed
        });
        problems
    }
}

fn decide_fate(
    scan: &Scan,
    broken: &BTreeSet<&Path>,
    path: &Path,
    certificate: &Certificate,
    now: i64,
) -> Fate {
    match certificate.validity(now) {
        _ if broken.contains(path) => Fate::Keep,
        // The file has other content on purpose: only a chain, or a certificate that another file has as well.
        _ if scan.contains(path) => Fate::Drop,
        CertificateValidity::Expired => Fate::Drop,
        _ => Fate::KeepVanished,
    }
}

fn diagnose_validity(certificate: &Certificate, now: i64) -> Option<CertificateProblem> {
    let kind = match certificate.validity(now) {
        CertificateValidity::Valid => return None,
        CertificateValidity::NotYetValid => {
            Kind::NotYetValid { not_before: certificate.not_before }
        }
        CertificateValidity::Expired => Kind::Expired { not_after: certificate.not_after },
    };
    Some(CertificateProblem::new(file_path(certificate)?, kind))
}

fn file_path(certificate: &Certificate) -> Option<&Path> {
    if let CertificateOrigin::File { path } = &certificate.origin { Some(path) } else { None }
}
