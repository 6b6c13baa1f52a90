//! `check`: everything that is wrong with a bundle, risky in it, or missing on this host, at once. It lowers
//! config.json exactly as `create` does, then looks at the plan: `risks.rs` for what weakens the container,
//! `files.rs` for the root filesystem and what is bound from the host, `host.rs` and `limits.rs` for
//! what the kernel and this user can do. It changes nothing. Called by `main`.

mod files;
mod host;
mod ids;
mod limits;
mod report;
mod risks;

pub use report::Report;

use crate::bundle::plan::Plan;
use crate::bundle::spec::Spec;
use crate::bundle::{self, Bundle, Host, Options, Problems, Warnings};
use crate::container::create::{Settings, cgroup_of};
use crate::error::shown;
use anyhow::Result;
use report::Findings;
use std::path::{Path, PathBuf};

/// What is asked for.
#[derive(Debug, Default)]
pub struct Request {
    /// The bundle directory; none is the current one.
    pub bundle: Option<PathBuf>,
    /// Read instead of the bundle's config.json.
    pub config: Option<PathBuf>,
    /// Print JSON.
    pub json: bool,
}

/// What is looked at.
struct Subject<'a> {
    spec: &'a Spec,
    plan: &'a Plan,
    host: &'a Host,
}

impl Subject<'_> {
    /// Whether root of the container is nobody special on the host.
    fn is_confined(&self) -> bool {
        use crate::bundle::plan::NamespaceKind::User;
        self.plan.namespaces.has(User) || !self.host.is_privileged()
    }

    /// Whether hooks run between the mounts and the search for the program, which may bring it.
    fn has_early_hooks(&self) -> bool {
        let hooks = &self.plan.hooks;
        [&hooks.prestart, &hooks.create_runtime, &hooks.create_container].iter().any(|list| !list.is_empty())
    }
}

/// Looks at a bundle. An error says that there is none; what is wrong with one is in the report.
pub fn check(request: &Request, settings: Settings) -> Result<Report> {
    let host = Host::probe()?;
    let directory = request.bundle.as_deref().unwrap_or(Path::new("."));
    let mut findings = Findings::default();
    let bundle = match bundle::read(directory, request.config.as_deref()) {
        Ok(bundle) => bundle,
        Err(error) => match error.downcast_ref::<Problems>() {
            // The document does not fit its types: no more can be said about it.
            Some(problems) => {
                findings.problems(problems);
                return Ok(findings.into_report(directory));
            }
            None => return Err(error),
        },
    };
    look(&bundle, settings, &host, &mut findings);
    Ok(findings.into_report(&bundle.path))
}

fn look(bundle: &Bundle, settings: Settings, host: &Host, findings: &mut Findings) {
    let options = Options { bundle: bundle.path.clone(), no_pivot: false };
    let (plan, problems) = bundle::lower_all(&bundle.spec, &options, host);
    let mut unknown = Warnings::default();
    bundle::unknown_members::<Spec>(&bundle.text, &mut unknown);
    findings.problems(&problems);
    findings.warnings(&plan.warnings);
    findings.warnings(&unknown);
    let subject = Subject { spec: &bundle.spec, plan: &plan, host };
    risks::look(&subject, findings);
    files::look(&subject, findings);
    host::look(&subject, findings);
    ids::look(&subject, findings);
    match cgroup_of(settings, &plan, "check", host) {
        Ok(manager) => limits::look(&subject, &manager, settings, findings),
        Err(error) => findings.host("linux.cgroupsPath", shown(&error)),
    }
}
