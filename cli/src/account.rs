//! The account the daemon runs as (`security`).

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;

use anyhow::{Context as _, anyhow, bail, ensure};
use nix::unistd::{
    Gid, Group, Uid, User, getgrouplist, getgroups, getresgid, getresuid, setgroups, setresgid,
    setresuid,
};
use rustix::thread::capabilities;
use traject_engine::config::effective::SecurityOptions;

use crate::error::{CommandError, ErrorKind};

/// Who the daemon is, and who it is to be.
#[derive(Debug)]
pub(crate) struct Account {
    /// Its name, where one is configured.
    name: Option<String>,
    now: Identity,
    wanted: Identity,
    step: Step,
}

/// What the system knows a process by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    uid: u32,
    gid: u32,
    groups: BTreeSet<u32>,
}

/// What has to be done to be somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Stay,
    /// The process is root and gives that up.
    Become,
}

/// Why one cannot become another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    User,
    Group,
}

impl Account {
    /// The account that is configured.
    ///
    /// # Errors
    ///
    /// There is none of that name, or it is another one and we are not root.
    pub(crate) fn wanted(options: &SecurityOptions) -> anyhow::Result<Self> {
        let now = Identity::of_process()?;
        let wanted = look_up(options, &now)?;
        let name = options.user.as_deref().map(str::to_owned);
        match step(&now, &wanted) {
            Ok(step) => Ok(Self { name, now, wanted, step }),
            Err(refusal) => Err(refused(refusal, options, &now)),
        }
    }

    /// Whether [`Self::assume`] has something to do.
    pub(crate) fn is_another(&self) -> bool {
        self.step == Step::Become
    }

    /// Becomes it, in every thread and for good.
    ///
    /// # Errors
    ///
    /// The system does not let us, or it does and something of root is left.
    pub(crate) fn assume(&self) -> anyhow::Result<()> {
        let groups: Vec<_> = self.wanted.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        let (uid, gid) = (Uid::from_raw(self.wanted.uid), Gid::from_raw(self.wanted.gid));
        // Groups first and the user last: who is not root any more cannot change the others.
        setgroups(&groups).context("cannot set the groups of the process")?;
        setresgid(gid, gid, gid).context("cannot set the group of the process")?;
        setresuid(uid, uid, uid).context("cannot set the user of the process")?;
        self.verify()
    }

    /// Says who we are where an operator should know.
    pub(crate) fn tell(&self) {
        match (self.wanted.uid, &self.name) {
            (0, _) => tracing::warn!("running as root; name an account with `user` in `security`"),
            (_, Some(name)) if self.is_another() => tracing::info!("running as {name}"),
            _ => {}
        }
    }

    /// What the system refused. A file that root can open and the account cannot is the most
    /// frequent reason, and the account does not stand in the error.
    pub(crate) fn explain(&self, error: anyhow::Error) -> CommandError {
        let denied = error.chain().any(|cause| {
            let error = cause.downcast_ref::<io::Error>();
            error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        });
        let explained = CommandError::new(ErrorKind::System, error);
        match &self.name {
            Some(name) if denied && self.is_another() => explained.hint(format!(
                "the daemon runs as `{name}`: its spool, logs and keys must be that account's, \
                 and so must the folders it makes files in"
            )),
            _ => explained,
        }
    }

    /// Nothing of what we were may be left, and there must be no way back.
    fn verify(&self) -> anyhow::Result<()> {
        let (users, groups) = (getresuid()?, getresgid()?);
        let users = [users.real, users.effective, users.saved].map(Uid::as_raw);
        let group_ids = [groups.real, groups.effective, groups.saved].map(Gid::as_raw);
        ensure!(users == [self.wanted.uid; 3], "the process has the users {users:?}");
        ensure!(group_ids == [self.wanted.gid; 3], "the process has the groups {group_ids:?}");
        let now = Identity::of_process()?;
        ensure!(now == self.wanted, "the process is {now:?} and not {:?}", self.wanted);
        if self.wanted.uid == 0 {
            return Ok(());
        }
        let left = capabilities(None).context("cannot read the capabilities of the process")?;
        let none = left.effective.is_empty() && left.permitted.is_empty();
        ensure!(none, "capabilities are left: {:?}", left.permitted);
        let root = Uid::from_raw(self.now.uid);
        if setresuid(root, root, root).is_ok() {
            bail!("the process could become root again");
        }
        Ok(())
    }
}

impl Identity {
    fn of_process() -> anyhow::Result<Self> {
        let groups = getgroups().context("cannot read the groups of the process")?;
        Ok(Self {
            uid: Uid::effective().as_raw(),
            gid: Gid::effective().as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
        })
    }
}

/// Decides how to become somebody.
fn step(now: &Identity, wanted: &Identity) -> Result<Step, Refusal> {
    if now.uid == 0 {
        return Ok(if now == wanted { Step::Stay } else { Step::Become });
    }
    if now.uid != wanted.uid {
        return Err(Refusal::User);
    }
    let has_groups = now.gid == wanted.gid && wanted.groups.is_subset(&now.groups);
    if has_groups { Ok(Step::Stay) } else { Err(Refusal::Group) }
}

fn refused(refusal: Refusal, options: &SecurityOptions, now: &Identity) -> anyhow::Error {
    let me = User::from_uid(Uid::from_raw(now.uid)).ok().flatten();
    let me = me.map_or_else(|| now.uid.to_string(), |user| user.name);
    let user = options.user.as_deref().unwrap_or(&me);
    match refusal {
        Refusal::User => anyhow!(
            "`security` wants the user `{user}`, but the daemon was started as `{me}`, and only \
             root can change that; start it as root or as `{user}`, or remove the option"
        ),
        Refusal::Group => anyhow!(
            "`security` wants groups that the daemon was not started with, and only root can \
             change that; start it as root, give them to `{me}`, or remove the option"
        ),
    }
}

/// The account that the options name; where they name none, what the process is.
fn look_up(options: &SecurityOptions, now: &Identity) -> anyhow::Result<Identity> {
    let SecurityOptions { user, group, supplemental_groups } = options;
    let mut identity = now.clone();
    if let Some(name) = user.as_deref() {
        let found = User::from_name(name).with_context(|| format!("cannot look up `{name}`"))?;
        let found = found.ok_or_else(|| unknown("user", name))?;
        (identity.uid, identity.gid) = (found.uid.as_raw(), found.gid.as_raw());
    }
    if let Some(name) = group.as_deref() {
        identity.gid = group_id(name)?;
    }
    if let Some(name) = user.as_deref() {
        let name = CString::new(name).context("a user's name cannot hold NUL")?;
        let groups = getgrouplist(&name, Gid::from_raw(identity.gid))
            .context("cannot look up the groups of the account")?;
        identity.groups = groups.into_iter().map(Gid::as_raw).collect();
    }
    for name in supplemental_groups.iter() {
        identity.groups.insert(group_id(name)?);
    }
    Ok(identity)
}

fn group_id(name: &str) -> anyhow::Result<u32> {
    let found = Group::from_name(name).with_context(|| format!("cannot look up `{name}`"))?;
    Ok(found.ok_or_else(|| unknown("group", name))?.gid.as_raw())
}

fn unknown(what: &str, name: &str) -> anyhow::Error {
    anyhow!("`security` names the {what} `{name}`, which this machine does not have")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(uid: u32, gid: u32, groups: &[u32]) -> Identity {
        Identity { uid, gid, groups: groups.iter().copied().collect() }
    }

    #[test]
    fn only_root_becomes_somebody_and_nobody_has_to_become_what_it_is() {
        let (root, mail) = (identity(0, 0, &[0]), identity(8, 8, &[8, 25]));
        for (now, wanted, step_or_refusal) in [
            (&root, &root, Ok(Step::Stay)),
            (&root, &mail, Ok(Step::Become)),
            (&root, &identity(0, 8, &[0]), Ok(Step::Become)),
            (&mail, &mail, Ok(Step::Stay)),
            // Groups beyond those wanted came with the start, and do no harm.
            (&identity(8, 8, &[8, 25, 99]), &mail, Ok(Step::Stay)),
            (&mail, &root, Err(Refusal::User)),
            (&mail, &identity(9, 8, &[8]), Err(Refusal::User)),
            (&mail, &identity(8, 9, &[8]), Err(Refusal::Group)),
            (&mail, &identity(8, 8, &[8, 26]), Err(Refusal::Group)),
        ] {
            assert_eq!(step(now, wanted), step_or_refusal, "{now:?} {wanted:?}");
        }
    }

    #[test]
    fn names_are_looked_up_and_those_unknown_are_named() {
        let now = identity(1, 2, &[3]);
        let options = |user: &str, group: &str, more: &[&str]| SecurityOptions {
            user: Some(user).filter(|name| !name.is_empty()).map(Into::into),
            group: Some(group).filter(|name| !name.is_empty()).map(Into::into),
            supplemental_groups: more.iter().map(|name| (*name).into()).collect(),
        };
        let found = |user, group, more: &[&str]| {
            look_up(&options(user, group, more), &now).map_err(|error| error.to_string())
        };
        assert_eq!(found("", "", &[]).unwrap(), now);
        assert_eq!(found("", "root", &[]).unwrap(), identity(1, 0, &[3]));
        let root = found("root", "", &[]).unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        let more = found("", "", &["root"]).unwrap();
        assert_eq!(more.groups, [0, 3].into());
        for (user, group, more, words) in [
            ("no-such-user", "", &[][..], "names the user `no-such-user`, which"),
            ("", "no-such-group", &[], "names the group `no-such-group`, which"),
            ("", "", &["no-such-group"], "names the group `no-such-group`, which"),
        ] {
            let error = found(user, group, more).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
