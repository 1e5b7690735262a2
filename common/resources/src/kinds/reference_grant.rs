//! `ReferenceGrant`: what documents of other namespaces may refer to in this one.

shapes! {
    /// What documents of other namespaces may refer to in this one: everything of `to`, from everything of
    /// `from`.
    pub struct ReferenceGrantSpec {
        /// Who may refer.
        #[schemars(length(min = 1))]
        pub from: Vec<ReferenceFrom>,
        /// To what.
        #[schemars(length(min = 1))]
        pub to: Vec<ReferenceTo>,
    }
    /// Documents that may refer.
    pub struct ReferenceFrom {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// Their kind, like `HTTPRoute`.
        #[schemars(length(min = 1))]
        pub kind: String,
        /// Their namespace.
        #[schemars(extend("format" = "resource-name"))]
        pub namespace: String,
    }
    /// What may be referred to.
    pub struct ReferenceTo {
        /// Group of the kind; ignored.
        pub group: Option<String>,
        /// Its kind, like `Service`.
        #[schemars(length(min = 1))]
        pub kind: String,
        /// Its name; default: all of the kind.
        #[schemars(extend("format" = "resource-name"))]
        pub name: Option<String>,
    }
}

impl ReferenceGrantSpec {
    /// Whether documents of that kind and namespace may refer to the document of this kind and name.
    #[must_use]
    pub fn permits(&self, from: (&str, &str), to: (&str, &str)) -> bool {
        self.from.iter().any(|one| (one.kind.as_str(), one.namespace.as_str()) == from)
            && self
                .to
                .iter()
                .any(|one| one.kind == to.0 && one.name.as_deref().is_none_or(|name| name == to.1))
    }
}
