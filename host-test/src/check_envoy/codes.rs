//! What is found in Envoy's configuration, each with a code that never changes its meaning.
//!
//! HE001 to HE099 keep a file from being looked at, HE100 to HE199 let agents get around the filter or undo what it does,
//! and HE200 to HE299 are warnings. A code that is no longer used is not given to anything else.

use holdgate_authoring::Severity;

macro_rules! codes {
    ($($code:ident $id:literal $title:literal;)*) => {
        /// A kind of finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $title] $code,)*
        }

        impl Code {
            /// All codes, in the order of their ids.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Code] = &[$(Code::$code),*];

            /// The stable name, such as `HE101`.
            pub(crate) fn id(self) -> &'static str {
                match self { $(Code::$code => $id),* }
            }

            /// What is wrong, in a few words that hold for every finding of this code.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Code::$code => $title),* }
            }
        }
    };
}

codes! {
    Unreadable "HE001" "file that cannot be read";
    NotABootstrap "HE002" "not a bootstrap of Envoy";
    TwoReadings "HE003" "configuration with two readings";
    MoreFindings "HE004" "more findings than are shown";
    NothingGuarded "HE101" "no listener for HTTP";
    WayPast "HE102" "way past the filter";
    SwitchedOff "HE103" "filter that is switched off or may be left out";
    UpgradeChain "HE104" "upgrade with filters of its own";
    Conditional "HE105" "filter that runs under a condition";
    ChangedAfter "HE106" "filter after Holdgate that changes requests";
    AnsweredBefore "HE107" "filter before Holdgate that answers from memory";
    ChangedByRoute "HE108" "route that changes what was approved";
    Mirrored "HE109" "mirrored requests";
    SentAgain "HE110" "requests that are sent again";
    ApprovalReachable "HE111" "way to the approval service";
    AgentChooses "HE112" "destination that the agent chooses";
    AdminReachable "HE113" "way to the admin interface";
    Tunnel "HE114" "tunnel";
    PathReadings "HE115" "path with several readings";
    HeaderReadings "HE116" "header with several readings";
    SmallBuffer "HE117" "buffer too small for a body";
    CutOff "HE118" "timeout shorter than a hold";
    FailsOpen "HE119" "filter that fails open";
    NoBody "HE120" "body that comes too late";
    NoCredential "HE121" "no credential for the filter";
    ShownCredential "HE122" "secret that the admin interface shows";
    Refused "HE123" "plugin configuration that the filter refuses";
    NoApproval "HE124" "no cluster of the approval service";
    NoKeys "HE125" "no cluster of an issuer's keys";
    Unvalidated "HE126" "certificate that counts without having been validated";
    NotLookedAt "HE201" "part that was not looked at";
    Unguarded "HE202" "listener without the filter";
    Between "HE203" "filter between Holdgate and the router";
    UnknownFilter "HE204" "unknown filter after Holdgate";
    TakesIdentity "HE205" "filter before Holdgate that takes or replaces the agent's token";
    HeadersAfter "HE206" "headers that are changed after the decision";
    StaysDown "HE207" "filter that stays down";
    ClearText "HE208" "connection without TLS";
    NoHttp2 "HE209" "approval service without HTTP/2";
    FewStreams "HE210" "limit that many holds reach";
    TrustsAgents "HE211" "trust in what agents say of themselves";
    ProtocolOption "HE212" "protocol option that does not go with the filter";
    Upgrade "HE213" "upgraded connections";
    RewritesAnswers "HE214" "answers of the filter that are rewritten";
    FollowsRedirects "HE215" "redirects that the proxy follows";
    RuntimeOverride "HE216" "safeguard of Envoy that is changed at run time";
    SharedVm "HE217" "other code with the name of the filter's VM";
    Twice "HE218" "filter that stands there twice";
    NoCertificates "HE219" "certificates that never count";
}

impl Code {
    pub(crate) fn severity(self) -> Severity {
        if self.id() < "HE200" { Severity::Error } else { Severity::Warning }
    }

    /// Where the table of codes stands.
    pub(crate) fn page() -> String {
        "envoy/README.md#what-check-envoy-finds".to_owned()
    }
}
