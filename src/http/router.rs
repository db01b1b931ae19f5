//! Routes, the rights that each needs, and their handlers.

use super::app::App;
use super::auth::{Rights, Token, read_only};
use super::handlers::{backups, config, history, jobs, metrics, openapi, status};
use super::request::{Method, Request, Target};
use crate::gate::{ApiError, Headers, Response};
use crate::service::jobs::JobId;

/// The most parameters of a path.
const PARAMETERS: usize = 2;

type Handler = fn(&App, &Request, [&str; PARAMETERS]) -> Result<Response, ApiError>;

/// A method of a path, and its handler.
pub struct Route {
    /// The method. GET answers HEAD, too.
    pub method: Method,
    /// The path. A segment in braces is a parameter: any segment that is not empty.
    pub path: &'static str,
    /// What the token must open; `None` where no token is needed.
    pub rights: Option<Rights>,
    handler: Handler,
}

/// Every route. `docs/openapi.yaml` describes each. For a path, GET comes first.
pub const ROUTES: &[Route] = &[
    Route::open(Method::Get, "/healthz", |_, _, _| Ok(status::health())),
    Route::read(Method::Get, "/status", |app, _, _| status::show(app)),
    Route::read(Method::Get, "/metrics", |app, _, _| metrics::show(app)),
    Route::read(Method::Get, "/backups", |app, request, _| backups::list(app, request)),
    Route::new(Method::Get, "/backups/{slot}/{name}", |app, request, [slot, name]| {
        backups::download(app, request, slot, name)
    }),
    Route::new(Method::Delete, "/backups/{slot}/{name}", |app, request, [slot, name]| {
        backups::delete(app, request, slot, name)
    }),
    Route::new(Method::Post, "/backup", |app, request, _| jobs::back_up(app, request)),
    Route::new(Method::Post, "/restore", |app, request, _| jobs::restore(app, request)),
    Route::new(Method::Post, "/verify", |app, request, _| jobs::verify(app, request)),
    Route::new(Method::Post, "/telegram/test", |app, request, _| jobs::test_telegram(app, request)),
    Route::read(Method::Get, "/jobs", |app, _, _| Ok(jobs::list(app))),
    Route::read(Method::Get, "/jobs/{id}", |app, _, [id, _]| jobs::show(app, &JobId::from_path(id))),
    Route::new(Method::Delete, "/jobs/{id}", |app, _, [id, _]| jobs::cancel(app, &JobId::from_path(id))),
    Route::read(Method::Get, "/history", |app, request, _| history::show(app, request)),
    Route::read(Method::Get, "/config", |app, _, _| Ok(config::show(app))),
    Route::new(Method::Patch, "/config", |app, request, _| config::change(app, request)),
    Route::new(Method::Delete, "/config/{key}", |app, _, [key, _]| config::clear(app, key)),
    Route::read(Method::Get, "/openapi.json", |_, _, _| Ok(openapi::show())),
];

impl Route {
    /// A route for the full token only.
    const fn new(method: Method, path: &'static str, handler: Handler) -> Self {
        Self { method, path, rights: Some(Rights::Full), handler }
    }

    /// A route for the token for reading, too.
    const fn read(method: Method, path: &'static str, handler: Handler) -> Self {
        Self { rights: Some(Rights::Read), ..Self::new(method, path, handler) }
    }

    /// A route without a token.
    const fn open(method: Method, path: &'static str, handler: Handler) -> Self {
        Self { rights: None, ..Self::new(method, path, handler) }
    }

    /// The parameters, if these segments match the path.
    fn parameters<'a>(&self, segments: &'a [String]) -> Option<[&'a str; PARAMETERS]> {
        let mut parameters = [""; PARAMETERS];
        let mut free = parameters.iter_mut();
        let mut known = self.path[1..].split('/');
        for segment in segments {
            match known.next()? {
                parameter if parameter.starts_with('{') && !segment.is_empty() => *free.next()? = segment,
                text if text == segment => {}
                _ => return None,
            }
        }
        known.next().is_none().then_some(parameters)
    }

    fn answers(&self, method: &Method) -> bool {
        self.method == *method || (self.method == Method::Get && *method == Method::Head)
    }
}

/// What paths without a route are counted as.
const OTHER: &str = "other";

/// The paths of all routes, and the one for all unknown paths.
pub fn paths() -> Vec<&'static str> {
    let mut paths: Vec<&str> = ROUTES.iter().map(|route| route.path).chain([OTHER]).collect();
    paths.dedup();
    paths
}

/// The path of the route that matches a path without its query; [`OTHER`] if none does.
pub fn route(path: &str) -> &'static str {
    let target = Target::parse(path).ok();
    let found =
        target.and_then(|target| ROUTES.iter().find(|route| route.parameters(&target.path).is_some()));
    found.map_or(OTHER, |route| route.path)
}

/// Bearer token check: whether the token in these header fields may do what a request asks for. What is no route needs the
/// full token, so that nobody else learns which paths exist.
///
/// # Errors
/// 401 without the right token, 403 when the one for reading is not enough.
pub fn authorize(token: &Token, method: &Method, path: &str, headers: &Headers) -> Result<(), ApiError> {
    let segments = Target::parse(path).map(|target| target.path).unwrap_or_default();
    let route = ROUTES.iter().find(|route| route.answers(method) && route.parameters(&segments).is_some());
    let needed = route.map_or(Some(Rights::Full), |route| route.rights);
    match needed {
        None => Ok(()),
        Some(needed) => match (token.check(headers)?, needed) {
            (Rights::Full, _) | (Rights::Read, Rights::Read) => Ok(()),
            (Rights::Read, Rights::Full) => Err(read_only()),
        },
    }
}

/// Answers a request that has been authorized.
pub fn answer(app: &App, request: &Request) -> Response {
    dispatch(app, request).unwrap_or_else(Response::from)
}

fn dispatch(app: &App, request: &Request) -> Result<Response, ApiError> {
    let segments = &request.target.path;
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(parameters) = route.parameters(segments) else { continue };
        if route.answers(&request.method) {
            return (route.handler)(app, request, parameters);
        }
        allowed.push(&route.method);
    }
    match allowed.is_empty() {
        true => Err(ApiError::not_found("there is nothing at this path")),
        false => Err(ApiError::method_not_allowed(&allow(&allowed))),
    }
}

/// The value of `Allow`.
fn allow(methods: &[&Method]) -> String {
    let head = methods.contains(&&Method::Get).then_some(&Method::Head);
    let mut names: Vec<&str> = methods.iter().copied().chain(head).map(Method::name).collect();
    // HEAD directly after GET.
    names.sort_by_key(|name| !matches!(*name, "GET" | "HEAD"));
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The routes of a path, with what its segments stand for.
    fn found(path: &str) -> Vec<(&'static str, [String; PARAMETERS])> {
        let segments: Vec<String> = path[1..].split('/').map(String::from).collect();
        let parameters = |route: &Route| route.parameters(&segments).map(|found| found.map(String::from));
        ROUTES.iter().filter_map(|route| Some((route.method.name(), parameters(route)?))).collect()
    }

    #[test]
    fn a_path_is_that_of_a_route_only_segment_by_segment() {
        let file = ["daily", "a.sql"].map(String::from);
        assert_eq!(found("/backups/daily/a.sql"), [("GET", file.clone()), ("DELETE", file)]);
        assert_eq!(found("/jobs/1")[0].1, ["1", ""]);
        for path in ["/", "/status/", "//status", "/backups/daily", "/backups/a/b/c", "/{slot}", "/telegram"]
        {
            assert_eq!(found(path), [], "{path}");
        }
    }

    #[test]
    fn path_is_counted_as_its_route() {
        for (path, expected) in [
            ("/backups/last/a", "/backups/{slot}/{name}"),
            ("/backups/daily/b%2Fc", "/backups/{slot}/{name}"),
            ("/%73tatus", "/status"),
            ("/nothing", OTHER),
            ("/status/", OTHER),
            ("-", OTHER),
            ("/%", OTHER),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn head_is_allowed_wherever_get_is() {
        assert_eq!(allow(&[&Method::Get]), "GET, HEAD");
        assert_eq!(allow(&[&Method::Get, &Method::Delete]), "GET, HEAD, DELETE");
        assert_eq!(allow(&[&Method::Post]), "POST");
    }
}
