//! The steps of each client. Every client starts with the artifact that oras pushed, and has its own
//! namespace.

/// A command, and its expected result.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Succeeds with the token on its standard input.
    LogsIn(&'static str),
    /// Succeeds.
    Does(&'static str),
    /// Succeeds and prints a text.
    Says(&'static str, &'static str),
    /// Succeeds and prints a digest, which is `@D` from then on.
    Names(&'static str),
    /// Succeeds and prints only `@D`.
    SaysDigest(&'static str),
    /// Succeeds and prints the component.
    Prints(&'static str),
    /// Succeeds and leaves the component in a file.
    Writes(&'static str, &'static str),
    /// Fails.
    Fails(&'static str),
}

use Step::{Does, Fails, LogsIn, Names, Prints, Says, SaysDigest, Writes};

/// With oras, before all others.
pub(super) const SEED: &[Step] = &[
    LogsIn("login --plain-http -u tamis --password-stdin @R"),
    Does(
        "push --plain-http --config config.json:application/vnd.wasm.config.v0+json \
         @R/seed/retry:edge filter.wasm:application/wasm",
    ),
    Names("resolve --plain-http @R/seed/retry:edge"),
];

pub(super) const ORAS: &[Step] = &[
    Fails("resolve --plain-http @R/seed/retry:edge"),
    LogsIn("login --plain-http -u tamis --password-stdin @R"),
    SaysDigest("resolve --plain-http @R/seed/retry:edge"),
    Does("cp --from-plain-http --to-plain-http @R/seed/retry:edge @R/oras/retry:edge"),
    SaysDigest("resolve --plain-http @R/oras/retry:edge"),
    Writes("pull --plain-http -o pulled @R/oras/retry:edge", "pulled/filter.wasm"),
    Writes("blob fetch --plain-http -o blob @R/oras/retry@@L", "blob"),
    Does(
        "attach --plain-http --artifact-type application/vnd.example.note @R/oras/retry:edge \
         config.json:application/json",
    ),
    Says("discover --plain-http --format json @R/oras/retry:edge", "application/vnd.example.note"),
    // With what speaks about it.
    Does("cp -r --from-plain-http --to-plain-http @R/oras/retry:edge @R/oras/copy:edge"),
    Says("discover --plain-http --format json @R/oras/copy:edge", "application/vnd.example.note"),
    Does("tag --plain-http @R/oras/retry:edge stable"),
    Says("repo tags --plain-http @R/oras/retry", "stable"),
    Does("manifest delete --plain-http --force @R/oras/retry@@D"),
    Fails("resolve --plain-http @R/oras/retry:stable"),
    SaysDigest("resolve --plain-http @R/oras/copy:edge"),
];

pub(super) const CRANE: &[Step] = &[
    Fails("digest @R/seed/retry:edge"),
    LogsIn("auth login -u tamis --password-stdin @R"),
    SaysDigest("digest @R/seed/retry:edge"),
    Says("manifest @R/seed/retry:edge", "application/wasm"),
    Does("pull --format=oci @R/seed/retry:edge layout"),
    Does("push layout @R/crane/retry:edge"),
    SaysDigest("digest @R/crane/retry:edge"),
    Prints("blob @R/crane/retry@@L"),
    Does("copy @R/crane/retry:edge @R/crane/copy:edge"),
    Does("tag @R/crane/copy:edge stable"),
    Says("ls @R/crane/copy", "stable"),
    Does("delete @R/crane/retry@@D"),
    Fails("digest @R/crane/retry:edge"),
    SaysDigest("digest @R/crane/copy:stable"),
];

pub(super) const REGCTL: &[Step] = &[
    Does("registry set --skip-check --tls disabled @R"),
    Fails("image digest @R/seed/retry:edge"),
    LogsIn("registry login -u tamis --pass-stdin @R"),
    Does(
        "artifact put --config-type application/vnd.wasm.config.v0+json --config-file config.json \
         --file filter.wasm --file-media-type application/wasm @R/regctl/retry:edge",
    ),
    Prints("artifact get @R/regctl/retry:edge"),
    Does("image copy @R/seed/retry:edge @R/regctl/copy:edge"),
    SaysDigest("image digest @R/regctl/copy:edge"),
    Prints("blob get @R/regctl/copy @L"),
    Does(
        "artifact put --artifact-type application/vnd.example.note --subject @R/regctl/copy:edge \
         --file config.json",
    ),
    Says("artifact list @R/regctl/copy:edge", "application/vnd.example.note"),
    Does("image copy @R/regctl/copy:edge ocidir://layout:edge"),
    Does("image copy ocidir://layout:edge @R/regctl/back:edge"),
    SaysDigest("image digest @R/regctl/back:edge"),
    Says("tag ls @R/regctl/back", "edge"),
    Does("tag delete @R/regctl/retry:edge"),
    Fails("image digest @R/regctl/retry:edge"),
    Does("manifest delete @R/regctl/copy@@D"),
    Fails("image digest @R/regctl/copy:edge"),
    SaysDigest("image digest @R/regctl/back:edge"),
];

/// It trusts no image without a policy of this machine, which is not what is asked for here.
pub(super) const SKOPEO: &[Step] = &[
    Fails("inspect --raw --tls-verify=false docker://@R/seed/retry:edge"),
    LogsIn("login --tls-verify=false -u tamis --password-stdin @R"),
    Says("inspect --raw --tls-verify=false docker://@R/seed/retry:edge", "application/wasm"),
    Does(
        "--insecure-policy copy --preserve-digests --src-tls-verify=false \
         --dest-oci-accept-uncompressed-layers docker://@R/seed/retry:edge oci:layout:edge",
    ),
    Does(
        "--insecure-policy copy --preserve-digests --dest-tls-verify=false oci:layout:edge \
         docker://@R/skopeo/retry:edge",
    ),
    Does(
        "--insecure-policy copy --preserve-digests --src-tls-verify=false --dest-tls-verify=false \
         docker://@R/skopeo/retry:edge docker://@R/skopeo/copy:edge",
    ),
    Does("inspect --raw --tls-verify=false docker://@R/skopeo/copy@@D"),
    Says("list-tags --tls-verify=false docker://@R/skopeo/copy", "\"edge\""),
    Does("delete --tls-verify=false docker://@R/skopeo/retry:edge"),
    Fails("inspect --raw --tls-verify=false docker://@R/skopeo/retry:edge"),
    Does("inspect --raw --tls-verify=false docker://@R/skopeo/copy:edge"),
];

/// Whose step it is, where two programs meet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Program {
    /// This one.
    Tamis,
    /// The other.
    Cosign,
}

/// The first signature is Tamis's, the second cosign's; a third of cosign is for another name.
pub(super) const COSIGN: &[(Program, Step)] = &[
    (Program::Tamis, Does("keys generate author")),
    (Program::Tamis, Does("keys generate stranger")),
    (
        Program::Tamis,
        Does(
            "filter sign filter.wasm --name acme/retry --version 1.0.0 --key author.key --store store",
        ),
    ),
    (
        Program::Tamis,
        Does("filter push store/acme-retry-1.0.0.wasm --registry http://@R --token-file token"),
    ),
    (Program::Cosign, LogsIn("login -u tamis --password-stdin @R")),
    (
        Program::Cosign,
        Does("verify --key author.pub --insecure-ignore-tlog=true @R/acme/retry:1.0.0"),
    ),
    (
        Program::Cosign,
        Fails("verify --key stranger.pub --insecure-ignore-tlog=true @R/acme/retry:1.0.0"),
    ),
    (
        Program::Cosign,
        Fails(
            "verify --key author.pub --insecure-ignore-tlog=true \
             -a org.opencontainers.image.version=2.0.0 @R/acme/retry:1.0.0",
        ),
    ),
    (Program::Cosign, Does("generate-key-pair")),
    (
        Program::Cosign,
        Does(
            "sign --key cosign.key --use-signing-config=false --tlog-upload=false -y \
             -a org.opencontainers.image.title=acme/retry -a org.opencontainers.image.version=1.0.0 \
             @R/acme/retry:1.0.0",
        ),
    ),
    (Program::Cosign, Does("generate-key-pair --output-key-prefix other")),
    (
        Program::Cosign,
        Does(
            "sign --key other.key --use-signing-config=false --tlog-upload=false -y \
             -a org.opencontainers.image.title=acme/other -a org.opencontainers.image.version=1.0.0 \
             @R/acme/retry:1.0.0",
        ),
    ),
    (
        Program::Tamis,
        Writes(
            "filter pull acme/retry:1.0.0 --store pulled --registry http://@R --token-file token",
            "pulled/acme-retry-1.0.0.wasm",
        ),
    ),
    (
        Program::Tamis,
        Does("filter verify pulled/acme-retry-1.0.0.wasm --key author.pub --key cosign.pub"),
    ),
    (Program::Tamis, Fails("filter verify pulled/acme-retry-1.0.0.wasm --key stranger.pub")),
    (Program::Tamis, Fails("filter verify pulled/acme-retry-1.0.0.wasm --key other.pub")),
];
