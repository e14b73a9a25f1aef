//! The accounts server: grant codes, refresh tokens, access tokens.
//!
//! Follows section "OAuth 2.0" of the API reference: errors come as HTTP 200 with a body, a
//! refresh never returns a new refresh token, mints are throttled, the 16th active access token
//! ends the oldest.

use super::data::mix;
use super::reply::Reply;
use super::state::{AppState, Params};
use crate::secret::Secret;
use axum::extract::{RawQuery, State};
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use serde_json::json;
use std::collections::VecDeque;

const ACCESS_LIFE_MS: i64 = 3_600_000;
const CODE_LIFE_MS: i64 = 180_000;
const MINT_WINDOW_MS: i64 = 600_000;
const MOST_ACTIVE: usize = 15;

/// Every scope, for organisations that were not given fewer.
pub const ALL_SCOPES: &str = "ZohoCRM.modules.ALL,ZohoCRM.settings.ALL,ZohoCRM.users.ALL,ZohoCRM.org.ALL,\
ZohoCRM.bulk.ALL,ZohoCRM.coql.READ,ZohoCRM.notifications.ALL,ZohoFiles.files.ALL,ZohoSearch.securesearch.READ";

/// The tokens of one organisation.
#[derive(Debug)]
pub struct Tokens {
    client_id: String,
    client_secret: Secret,
    scope: String,
    refresh: Vec<Refresh>,
    codes: Vec<Code>,
    minted: u64,
    seed: u64,
}

#[derive(Debug)]
struct Refresh {
    token: Secret,
    mints: VecDeque<i64>,
    active: VecDeque<Access>,
}

#[derive(Debug)]
struct Access {
    token: String,
    expires_ms: i64,
}

#[derive(Debug)]
struct Code {
    code: String,
    expires_ms: i64,
}

impl Tokens {
    /// One client with one refresh token that never expires.
    pub fn new(
        client_id: String,
        client_secret: Secret,
        refresh_token: Secret,
        scope: Option<String>,
        seed: u64,
    ) -> Self {
        let refresh = vec![Refresh { token: refresh_token, mints: VecDeque::new(), active: VecDeque::new() }];
        let scope = scope.unwrap_or_else(|| ALL_SCOPES.to_owned());
        Self { client_id, client_secret, scope, refresh, codes: Vec::new(), minted: 0, seed }
    }

    /// Issues a grant code, good for one exchange within three minutes.
    pub fn issue_code(&mut self, code: Option<String>, now_ms: i64) -> String {
        let code = code.unwrap_or_else(|| self.fresh("code"));
        self.codes.push(Code { code: code.clone(), expires_ms: now_ms + CODE_LIFE_MS });
        code
    }

    /// How many access tokens were issued.
    pub fn minted(&self) -> u64 {
        self.minted
    }

    /// When a token that is still good expires, in milliseconds.
    pub fn expiry(&self, token: &str, now_ms: i64) -> Option<i64> {
        let mut active = self.refresh.iter().flat_map(|refresh| &refresh.active);
        active
            .find(|access| access.token == token && access.expires_ms > now_ms)
            .map(|access| access.expires_ms)
    }

    /// Ends one access token, or all of them.
    pub fn forget(&mut self, token: Option<&str>) {
        for refresh in &mut self.refresh {
            refresh.active.retain(|access| token.is_some_and(|token| access.token != token));
        }
    }

    /// Whether the scopes cover a call; scopes are compared without regard to case.
    pub fn allows(&self, path: &str) -> bool {
        let needed = needed_scope(path);
        self.scope.split(',').any(|scope| {
            let scope = scope.trim().to_ascii_lowercase();
            scope.starts_with(needed) || scope == "zohocrm.all"
        })
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.minted += 1;
        let number = mix(self.seed ^ super::data::salt(kind) ^ mix(self.minted));
        format!("1000.{number:016x}.{:016x}", mix(number))
    }

    fn revoke(&mut self, token: &str) -> bool {
        let before = self.refresh.len();
        self.refresh.retain(|refresh| refresh.token.expose() != token);
        self.refresh.len() < before
    }

    fn exchange(&mut self, code: &str, now_ms: i64) -> Option<Secret> {
        let at = self.codes.iter().position(|held| held.code == code)?;
        if self.codes.remove(at).expires_ms <= now_ms {
            return None;
        }
        let token = Secret::new(self.fresh("refresh"));
        self.refresh.push(Refresh { token: token.clone(), mints: VecDeque::new(), active: VecDeque::new() });
        Some(token)
    }

    /// A new access token; `Err` says which of Zoho's errors.
    fn mint(&mut self, refresh_token: &str, most: Option<usize>, now_ms: i64) -> Result<String, TokenError> {
        let token = self.fresh("access");
        let found = self.refresh.iter_mut().find(|refresh| refresh.token.expose() == refresh_token);
        let refresh = found.ok_or(TokenError::InvalidCode)?;
        while refresh.mints.front().is_some_and(|at| now_ms - at >= MINT_WINDOW_MS) {
            refresh.mints.pop_front();
        }
        if most.is_some_and(|most| refresh.mints.len() >= most) {
            return Err(TokenError::Throttled);
        }
        refresh.mints.push_back(now_ms);
        refresh.active.retain(|access| access.expires_ms > now_ms);
        if refresh.active.len() >= MOST_ACTIVE {
            refresh.active.pop_front();
        }
        refresh.active.push_back(Access { token: token.clone(), expires_ms: now_ms + ACCESS_LIFE_MS });
        Ok(token)
    }
}

/// The beginning of a scope that a path needs, in lower case.
fn needed_scope(path: &str) -> &'static str {
    let mut parts = path.split('/').skip(2);
    let first = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or_default();
    match (first, second) {
        ("bulk", _) => "zohocrm.bulk",
        (_, "settings") => "zohocrm.settings",
        (_, "users") => "zohocrm.users",
        (_, "org") => "zohocrm.org",
        (_, "coql") => "zohocrm.coql",
        (_, "upload") => "zohofiles.files",
        _ => "zohocrm.modules",
    }
}

enum TokenError {
    InvalidClient,
    InvalidClientSecret,
    InvalidCode,
    InvalidGrantType,
    Throttled,
}

impl From<TokenError> for Reply {
    fn from(error: TokenError) -> Self {
        let body = match error {
            TokenError::InvalidClient => json!({"error": "invalid_client"}),
            TokenError::InvalidClientSecret => json!({"error": "invalid_client_secret"}),
            TokenError::InvalidCode => json!({"error": "invalid_code"}),
            TokenError::InvalidGrantType => json!({"error": "unsupported_grant_type"}),
            TokenError::Throttled => json!({"error": "Access Denied",
                "error_description": "You have made too many requests continuously. Please try again after some time.",
                "status": "failure"}),
        };
        Self::json(200, &body)
    }
}

/// The routes of the accounts server.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/oauth/v2/token", post(token))
        .route("/oauth/v2/token/revoke", post(revoke))
        .route("/oauth/serverinfo", get(server_info))
}

async fn token(State(app): State<AppState>, RawQuery(query): RawQuery, body: Bytes) -> Reply {
    let form = Params::parse(&String::from_utf8_lossy(&body));
    let params = Params::parse(query.as_deref().unwrap_or_default()).or(form);
    grant(&app, &params).unwrap_or_else(Reply::from)
}

fn grant(app: &AppState, params: &Params) -> Result<Reply, TokenError> {
    let given = |name| params.get(name).unwrap_or_default();
    let mut known = app.orgs.iter().filter(|org| org.tokens().client_id == given("client_id")).peekable();
    known.peek().ok_or(TokenError::InvalidClient)?;
    let mut known =
        known.filter(|org| org.tokens().client_secret.expose() == given("client_secret")).peekable();
    known.peek().ok_or(TokenError::InvalidClientSecret)?;
    let now_ms = app.clock.now_ms();
    // Several organisations may share a client: the code or token tells which one is meant.
    for org in known {
        let mut tokens = org.tokens();
        let (refresh, is_new) = match given("grant_type") {
            "authorization_code" => match tokens.exchange(given("code"), now_ms) {
                Some(token) => (token, true),
                None => continue,
            },
            "refresh_token" => (Secret::new(given("refresh_token")), false),
            _ => return Err(TokenError::InvalidGrantType),
        };
        let access = match tokens.mint(refresh.expose(), org.meter.token_mints(), now_ms) {
            Err(TokenError::InvalidCode) => continue,
            minted => minted?,
        };
        let mut body = json!({"access_token": access, "scope": tokens.scope, "api_domain": app.base_url,
            "token_type": "Bearer", "expires_in": ACCESS_LIFE_MS / 1_000});
        if is_new {
            body["refresh_token"] = refresh.expose().into();
        }
        return Ok(Reply::json(200, &body));
    }
    Err(TokenError::InvalidCode)
}

async fn revoke(State(app): State<AppState>, RawQuery(query): RawQuery, body: Bytes) -> Reply {
    let form = Params::parse(&String::from_utf8_lossy(&body));
    let params = Params::parse(query.as_deref().unwrap_or_default()).or(form);
    let token = params.get("token").unwrap_or_default();
    if app.orgs.iter().any(|org| org.tokens().revoke(token)) {
        return Reply::json(200, &json!({"status": "success"}));
    }
    // A bad token gets a web page, not JSON.
    Reply::bytes(400, "text/html;charset=UTF-8", b"<html><body>invalid token</body></html>".to_vec())
}

async fn server_info(State(app): State<AppState>) -> Reply {
    Reply::json(200, &json!({"result": "success", "locations": {"us": app.base_url}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::new("id".into(), Secret::new("secret"), Secret::new("refresh"), None, 1)
    }

    #[test]
    fn the_sixteenth_token_ends_the_first() {
        let mut tokens = tokens();
        let minted: Vec<String> = (0..16).filter_map(|_| tokens.mint("refresh", None, 0).ok()).collect();
        assert_eq!(minted.iter().filter(|token| tokens.expiry(token, 1).is_some()).count(), 15);
        assert_eq!(tokens.expiry(&minted[0], 1), None);
        assert_eq!(tokens.expiry(&minted[1], ACCESS_LIFE_MS), None);
    }

    #[test]
    fn mints_are_throttled_for_ten_minutes() {
        let mut tokens = tokens();
        for _ in 0..10 {
            assert!(tokens.mint("refresh", Some(10), 0).is_ok());
        }
        assert!(matches!(tokens.mint("refresh", Some(10), MINT_WINDOW_MS - 1), Err(TokenError::Throttled)));
        assert!(tokens.mint("refresh", Some(10), MINT_WINDOW_MS).is_ok());
    }

    #[test]
    fn a_code_works_once_and_not_for_long() {
        let mut tokens = tokens();
        let code = tokens.issue_code(None, 0);
        assert!(tokens.exchange(&code, 1_000).is_some() && tokens.exchange(&code, 1_000).is_none());
        let late = tokens.issue_code(Some("given".into()), 0);
        assert!(tokens.exchange(&late, CODE_LIFE_MS).is_none());
    }

    #[test]
    fn scopes_are_checked_by_group() {
        let mut tokens = tokens();
        assert!(tokens.allows("/crm/v8/Leads") && tokens.allows("/crm/bulk/v8/read"));
        tokens.scope = "zohocrm.settings.ALL".into();
        assert!(tokens.allows("/crm/v8/settings/modules") && !tokens.allows("/crm/v8/Leads"));
    }
}
