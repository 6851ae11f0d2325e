//! The kinds of stanza: what each is called, where it may stand, how its instances are named.

use alloc::string::String;
use alloc::vec::Vec;

macro_rules! scope_kinds {
    ($(
        $(#[$form:meta])* $kind:ident $name:literal $instance:ident in [$($parent:ident)*]
        $doc:literal;
    )+) => {
        /// A kind of stanza, or another place options are set in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ScopeKind {
            $($(#[$form])* $kind,)+
        }

        impl ScopeKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// Its name in the language, in lower case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// What it is for, in a sentence or two.
            pub const fn doc(self) -> &'static str {
                match self {
                    $(Self::$kind => $doc,)+
                }
            }

            /// Whether its stanzas have names of their own.
            pub const fn instance(self) -> Instance {
                match self {
                    $(Self::$kind => Instance::$instance,)+
                }
            }

            /// The stanzas it may stand in. Empty for what is not written as a stanza.
            pub const fn parents(self) -> Scopes {
                match self {
                    $(Self::$kind => Scopes::of(&[$(Self::$parent,)*]),)+
                }
            }
        }
    };
}

scope_kinds! {
    /// Outside every stanza.
    Global "global" None in []
        "Outside every stanza.";
    /// `binding_group "name"`
    BindingGroup "binding_group" Required in [Global]
        "Bindings that belong together, and the options they share.";
    /// `binding "name"`
    Binding "binding" Required in [Global BindingGroup]
        "A virtual sender: a source address, queues and options of its own.";
    /// `domain "name"` or `domain "/regex/"`
    Domain "domain" Required in [Global BindingGroup Binding]
        "Options of mail to one domain, or to all domains that a pattern between slashes matches.";
    /// `host "mx.name"`
    Host "host" Required in [Global BindingGroup Binding]
        "Options of connections to one exchange, whatever the domain. Nothing falls back from here.";
    /// `ESMTP_Listener`
    EsmtpListener "esmtp_listener" Optional in [Global]
        "Where mail is received by SMTP.";
    /// `Control_Listener`
    ControlListener "control_listener" Optional in [Global]
        "Where operators reach the console of the original.";
    /// `ECStream_Listener`
    EcstreamListener "ecstream_listener" Optional in [Global]
        "Where mail is received by ECStream, a protocol of the original alone.";
    /// `ECCluster_Listener`
    EcclusterListener "eccluster_listener" Optional in [Global]
        "Where nodes of a cluster of the original meet.";
    /// `HTTP_Listener`
    HttpListener "http_listener" Optional in [Global]
        "Where the original serves HTTP.";
    /// `MSGCServer_Listener`
    MsgcserverListener "msgcserver_listener" Optional in [Global]
        "Where nodes of a later cluster of the original meet.";
    /// `XMPP_Listener`
    XmppListener "xmpp_listener" Optional in [Global]
        "Where the original serves XMPP.";
    /// `Listen "address:port"`
    Listen "listen" Required in [
        EsmtpListener ControlListener EcstreamListener EcclusterListener HttpListener
        MsgcserverListener XmppListener
    ]
        "One socket of a listener, and options of those who connect to it.";
    /// `Peer "cidr"`
    Peer "peer" Required in [
        EsmtpListener ControlListener EcstreamListener EcclusterListener HttpListener
        MsgcserverListener XmppListener Listen
    ]
        "Options of clients whose addresses are in a network. The longest prefix counts.";
    /// `cidr = ( ... )` in the list form of a listener.
    AclEntry "access control entry" None in []
        "Options of clients whose addresses are in a network, in the list form of a listener.";
    /// `personality [ ... ]` in the list form of a listener.
    Personality "personality" None in []
        "Limits and names, in the list form of a listener.";
    /// `pathway "name"`
    Pathway "pathway" Required in [Global PathwayGroup]
        "A named set of options for clients, which listeners refer to.";
    /// `pathway_group "name"`
    PathwayGroup "pathway_group" Required in [Global]
        "Pathways that belong together.";
    /// `security`
    Security "security" None in [Global]
        "The account and the privileges of the process.";
    /// `ec_logger`
    EcLogger "ec_logger" Optional in [Global]
        "The files mainlog and rejectlog. Each stanza has files of its own.";
    /// `bounce_logger`
    BounceLogger "bounce_logger" Optional in [Global]
        "The file bouncelog. Each stanza has a file of its own.";
    /// `cluster`
    Cluster "cluster" Optional in [Global]
        "Nodes that share their limits.";
    /// `threadpool "name"`
    Threadpool "threadpool" Required in [Global]
        "A pool of threads of the original.";
    /// `eventloop "name"`
    Eventloop "eventloop" Required in [Global]
        "A set of event loops of the original.";
    /// `debug_flags`
    DebugFlags "debug_flags" None in [Global]
        "What the original writes about itself.";
    /// `snmp`
    Snmp "snmp" Optional in [Global]
        "The SNMP agent of the original.";
    /// `snmp_traps`
    SnmpTraps "snmp_traps" Optional in [Global]
        "What the SNMP agent of the original reports by itself.";
    /// `authorization`
    Authorization "authorization" Optional in [Global]
        "Which operator may use which command of the console of the original.";
    /// `adaptive_sweep_rule "name"`
    AdaptiveSweepRule "adaptive_sweep_rule" Required in [Global BindingGroup Binding Domain]
        "What to do when bounces or complaints exceed a share of deliveries.";
}

/// Whether stanzas of a kind are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance {
    /// Never: all stanzas of the kind are one.
    None,
    /// They may be.
    Optional,
    /// Always.
    Required,
}

impl ScopeKind {
    /// The kind of that name, whatever its case.
    pub fn from_name(name: &str) -> Option<Self> {
        let written = |kind: &&Self| !kind.parents().is_empty();
        Self::ALL
            .iter()
            .filter(written)
            .copied()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Whether its options are not looked at: nothing here knows them, and none would have an
    /// effect.
    pub const fn is_opaque(self) -> bool {
        matches!(
            self,
            Self::Cluster
                | Self::Threadpool
                | Self::Eventloop
                | Self::DebugFlags
                | Self::Snmp
                | Self::SnmpTraps
                | Self::Authorization
        )
    }

    /// Whether its options have an effect.
    pub const fn works(self) -> bool {
        matches!(
            self,
            Self::Global
                | Self::BindingGroup
                | Self::Binding
                | Self::Domain
                | Self::Host
                | Self::EsmtpListener
                | Self::Listen
                | Self::Peer
                | Self::AclEntry
                | Self::Personality
                | Self::Security
                | Self::EcLogger
                | Self::BounceLogger
        )
    }

    /// Whether it listens on sockets.
    pub const fn is_listener(self) -> bool {
        Self::Listen.parents().contains(self)
    }

    /// Whether the names of its stanzas are compared without regard to case: those of domains and
    /// hosts are, those of bindings are not.
    pub const fn folds_case(self) -> bool {
        matches!(self, Self::Domain | Self::Host | Self::Peer | Self::Listen)
    }
}

/// A set of scope kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u32);

impl Scopes {
    /// The set of these.
    pub const fn of(kinds: &[ScopeKind]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < kinds.len() {
            set |= 1 << kinds[at] as u32;
            at += 1;
        }
        Self(set)
    }

    /// The set with those of `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `kind` is in it.
    pub const fn contains(self, kind: ScopeKind) -> bool {
        self.0 & 1 << kind as u32 != 0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in it.
    pub fn iter(self) -> impl Iterator<Item = ScopeKind> {
        ScopeKind::ALL.iter().copied().filter(move |&kind| self.contains(kind))
    }

    /// The names in it, in words: `binding, domain or global`.
    pub fn in_words(self) -> String {
        let names: Vec<_> = self.iter().map(ScopeKind::name).collect();
        in_words(&names, "or")
    }
}

/// `a, b or c`
pub(super) fn in_words(names: &[&str], last: &str) -> String {
    use alloc::format;
    match names {
        [] => String::new(),
        [one] => String::from(*one),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_any_case_and_only_for_stanzas() {
        assert_eq!(ScopeKind::from_name("ESMTP_Listener"), Some(ScopeKind::EsmtpListener));
        assert_eq!(ScopeKind::from_name("Domain"), Some(ScopeKind::Domain));
        assert_eq!(ScopeKind::from_name("global"), None);
        assert_eq!(ScopeKind::from_name("personality"), None);
        assert_eq!(ScopeKind::from_name("domains"), None);
    }

    #[test]
    fn sets_say_what_they_hold() {
        let set = Scopes::of(&[ScopeKind::Domain, ScopeKind::Global, ScopeKind::Binding]);
        assert_eq!(set.in_words(), "global, binding or domain");
        assert!(set.contains(ScopeKind::Domain) && !set.contains(ScopeKind::Host));
        assert_eq!(Scopes::default().in_words(), "");
    }
}
