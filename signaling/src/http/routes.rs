//! A router that knows its paths, so that a test can hold the OpenAPI document against them.

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::routing::MethodRouter;

use crate::app::App;

/// Routes, and their paths.
#[derive(Debug, Default)]
pub(super) struct Routes {
    router: Router<Arc<App>>,
    paths: Vec<String>,
}

impl Routes {
    /// Adds a path.
    #[must_use]
    pub(super) fn route(mut self, path: &str, methods: MethodRouter<Arc<App>>) -> Self {
        self.paths.push(path.to_owned());
        Self { router: self.router.route(path, methods), paths: self.paths }
    }

    /// Adds all of another.
    #[must_use]
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.paths.extend(other.paths);
        Self { router: self.router.merge(other.router), paths: self.paths }
    }

    /// Gives all of them a value.
    #[must_use]
    pub(super) fn extended<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        Self { router: self.router.layer(Extension(value)), paths: self.paths }
    }

    /// The paths, in axum's writing.
    #[cfg(test)]
    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }

    pub(super) fn into_router(self) -> Router<Arc<App>> {
        self.router
    }
}
