//! What Envoy Gateway 1.9 makes of the `sessionPersistence` of an `HTTPRoute`, and of the
//! `filterOrder` of an `EnvoyProxy`. Read in its source, not recorded.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::resources::{Kind, Resources, name_of};

/// The listener that was recorded, and its routes.
pub const LISTENER: &str = "default/eg/http";
const KEEPER: &str = "envoy.filters.http.stateful_session";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SessionPersistence {
    session_name: String,
    r#type: SessionType,
    cookie_config: CookieConfig,
}

#[derive(Deserialize)]
enum SessionType {
    Cookie,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CookieConfig {
    lifetime_type: LifetimeType,
}

#[derive(Deserialize)]
enum LifetimeType {
    Session,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterPosition {
    name: String,
    after: String,
}

/// Has the only route of the recording keep sessions as the first rule of `route` says: the filter
/// stands in the chain switched off, before those in Wasm, and the route switches it on.
///
/// # Errors
/// When the rule has what is not known here, or the recording is another one.
pub fn keep_sessions(route: &Value, resources: &mut Resources) -> Result<()> {
    let rule = &route["spec"]["rules"][0];
    let persistence = SessionPersistence::deserialize(&rule["sessionPersistence"])?;
    let SessionPersistence {
        session_name,
        r#type: SessionType::Cookie,
        cookie_config: CookieConfig {
            lifetime_type: LifetimeType::Session,
        },
    } = persistence;
    let path = &rule["matches"][0]["path"];
    ensure!(path["type"] == "PathPrefix", "{path} is not known here");
    let state = json!({
        "name": "envoy.http.stateful_session.cookie",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState",
            "cookie": { "name": session_name, "path": path["value"] },
        },
    });
    let filter = json!({
        "name": KEEPER,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
            "session_state": state,
        },
        "disabled": true,
    });
    let filters = http_filters(resources)?;
    let place = filters.iter().position(is_of(WASM)).context("no Wasm")?;
    filters.insert(place, filter);

    let routes = resources.get(Kind::Routes, LISTENER)?;
    let route = routes.pointer_mut("/virtual_hosts/0/routes/0/typed_per_filter_config");
    route.context("no route with filters")?[KEEPER] = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
        "stateful_session": { "session_state": state },
    });
    Ok(())
}

const WASM: &str = "envoy.filters.http.wasm";

/// Puts the filters into the order that an `EnvoyProxy` wants; kinds that are not there are no error.
///
/// # Errors
/// When it wants what is not known here.
pub fn order_filters(proxy: &Value, resources: &mut Resources) -> Result<()> {
    let positions = Vec::<FilterPosition>::deserialize(&proxy["spec"]["filterOrder"])?;
    let filters = http_filters(resources)?;
    for FilterPosition { name, after } in positions {
        if !filters.iter().any(is_of(&after)) {
            continue;
        }
        let (moved, others): (Vec<_>, Vec<_>) = filters.drain(..).partition(is_of(&name));
        *filters = others;
        let place = filters.iter().rposition(is_of(&after));
        let place = place.context("a filter after itself")? + 1;
        filters.splice(place..place, moved);
    }
    Ok(())
}

/// Whether a filter is of this kind: its name begins with that of the kind.
fn is_of(kind: &str) -> impl Fn(&Value) -> bool {
    move |filter| name_of(filter).starts_with(kind)
}

fn http_filters(resources: &mut Resources) -> Result<&mut Vec<Value>> {
    let listener = resources.get(Kind::Listeners, LISTENER)?;
    let manager = Resources::connection_managers(listener).next();
    let filters = manager.context("no connection manager")?["http_filters"].as_array_mut();
    filters.context("no filters")
}
