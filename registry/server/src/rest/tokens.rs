//! Tokens, managed remotely by callers who have at least the same rights.

use axum::extract::{Path, State};
use tamis_api::{ApiProblem, CreatedToken, RotateRequest, TokenRequest, TokenView};
use tamis_oci::{Code, NewToken, RepositoryPattern, StoreError, TokenInfo, TokenSecret, Verb};
use tamis_trust::Refused;

use super::Api;
use super::answer::{Answer, Json, ProblemResponse, problem};
use super::extract::{Caller, UnreadBody};
use crate::plane::{disk_full, ended, refused as refused_by};

/// Most names of repositories, and most verbs, in a request.
const MAX_NAMES: usize = 100;
/// The longest lifetime of a token made remotely: ten years.
const MAX_HOURS: u64 = 24 * 3_660;

/// Tokens whose rights lie within those of the caller.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", responses(
    (status = 200, body = Vec<TokenView>),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Answer<Vec<TokenView>> {
    caller.must(Verb::Operate)?;
    let now = api.store.clock().unix_ms();
    let own = |token: &TokenInfo| holds(&caller, &token.verbs, &token.repositories);
    let tokens = api.store.tokens().into_iter().filter(own).map(|token| {
        let expired = token.expires_ms.is_some_and(|expires| now >= expires);
        view(token, expired)
    });
    Ok(Json(tokens.collect()))
}

fn view(token: TokenInfo, expired: bool) -> TokenView {
    TokenView {
        name: token.name,
        repositories: token.repositories.iter().map(ToString::to_string).collect(),
        verbs: token.verbs.iter().map(|verb| verb.as_str().to_owned()).collect(),
        expires_ms: token.expires_ms,
        expired,
        created_ms: token.created_ms,
        by: token.by,
        rotated_by: token.rotated_by,
    }
}

/// Make a token whose rights lie within those of the caller.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = TokenRequest, responses(
    (status = 200, body = CreatedToken),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    body: UnreadBody,
) -> Answer<CreatedToken> {
    caller.must(Verb::Operate)?;
    let request: TokenRequest = body.json().await?;
    let patterns: Vec<RepositoryPattern> =
        read(&request.repositories, "a repository", "*, NAMESPACE/*, NAMESPACE/NAME or mesh")?;
    let verbs = verbs(&request.verbs)?;
    if !holds(&caller, &verbs, &patterns) {
        let title =
            format!("{} cannot give a token more rights than it has itself", caller.0.actor());
        let way = "ask for fewer rights, or ask somebody who has all of them, and `operate` for the same places";
        return Err(problem(403, "denied", title, way));
    }
    if verbs.contains(&Verb::Approve) {
        return Err(second_person());
    }
    names_own(&caller, &request.name)?;
    let expires_ms = end(api.store.clock().unix_ms(), &caller, request.hours)?;
    let secret = TokenSecret::generate().map_err(|error| unmade(&error.to_string()))?;
    let token = NewToken { name: request.name.clone(), patterns, verbs, expires_ms };
    let made = api.store.create_token_by(&caller.0, token, &secret).await;
    made.map_err(|error| refused(&caller, &error))?;
    Ok(Json(CreatedToken { name: request.name, token: secret.expose().to_owned(), expires_ms }))
}

/// Replace the secret of a token; the old one stops working at once.
#[utoipa::path(post, path = "/v1/tokens/{name}/rotate", tag = "tokens", request_body = RotateRequest,
    params(("name" = String, Path, description = "The token's name.")), responses(
    (status = 200, body = CreatedToken),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn rotate(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    body: UnreadBody,
) -> Answer<CreatedToken> {
    // The holder of a token may rotate it, whatever its rights.
    let itself = caller.0.actor() != "anonymous" && caller.0.actor() == name;
    let judged = if itself { None } else { Some(own(&api, &caller, &name)?) };
    if judged.as_ref().is_some_and(|token| token.verbs.contains(&Verb::Approve)) {
        return Err(second_person());
    }
    let request: RotateRequest = body.json().await?;
    let expires_ms = end(api.store.clock().unix_ms(), &caller, request.hours)?;
    let secret = TokenSecret::generate().map_err(|error| unmade(&error.to_string()))?;
    // Meanwhile somebody may have given the name to another token, with other rights. The caller's own is the same one: what
    // is written needs it to hold still.
    let is_it = |now: &TokenInfo| judged.as_ref().is_none_or(|token| token == now);
    let done = api.store.rotate_token_by(&caller.0, &name, &secret, expires_ms, is_it).await;
    done.map_err(|error| refused(&caller, &error))?;
    Ok(Json(CreatedToken { name, token: secret.expose().to_owned(), expires_ms }))
}

/// Revoke a token.
#[utoipa::path(delete, path = "/v1/tokens/{name}", tag = "tokens",
    params(("name" = String, Path, description = "The token's name.")), responses(
    (status = 200, body = TokenView),
    (status = "4XX", body = ApiProblem, content_type = "application/problem+json"),
    (status = 503, body = ApiProblem, content_type = "application/problem+json"),
))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<TokenView> {
    let token = own(&api, &caller, &name)?;
    let done = api.store.revoke_token_by(&caller.0, &name, |now| *now == token).await;
    done.map_err(|error| refused(&caller, &error))?;
    Ok(Json(view(token, true)))
}

/// An approval comes from a second person: a caller who could make that person's token would approve their
/// own change.
fn second_person() -> ProblemResponse {
    let title = "tokens with `approve` are made and rotated on the registry's machine, or rotated by their holder";
    problem(403, "denied", title, "omit `approve`, or ask the operator of the registry")
}

/// Refuses a name that may be that of a token of others: all tokens have one set of names, and whether others have one is not
/// for everybody to know.
fn names_own(caller: &Caller, name: &str) -> Result<(), ProblemResponse> {
    let maker = caller.0.actor();
    let is_own = name.strip_prefix(maker).is_some_and(|rest| rest.starts_with('-'));
    if is_own || caller.0.may_at(Verb::Operate, "*") {
        return Ok(());
    }
    let title = format!(
        "the name of a token that {maker} makes must begin with `{maker}-`, as everybody shares the names of tokens"
    );
    Err(problem(
        400,
        "bad-request",
        title,
        "begin the name as the rule says, such as `MAKER-ci` for the token MAKER",
    ))
}

/// Whether the caller has all these rights, and `operate` for the same places.
fn holds(caller: &Caller, verbs: &[Verb], patterns: &[RepositoryPattern]) -> bool {
    caller.0.may_all(&[Verb::Operate], patterns) && caller.0.may_all(verbs, patterns)
}

/// A token whose rights lie within those of the caller; the existence of other tokens of that name is not
/// revealed.
fn own(api: &Api, caller: &Caller, name: &str) -> Result<TokenInfo, ProblemResponse> {
    caller.must(Verb::Operate)?;
    let found =
        api.store.token(name).filter(|token| holds(caller, &token.verbs, &token.repositories));
    found.ok_or_else(absent)
}

fn absent() -> ProblemResponse {
    let title = "there is no such token within your rights";
    problem(404, "not-found", title, "`tamis registry token list` lists those that are")
}

/// When a token expires: after so many hours, and never after the caller's token.
fn end(now_ms: u64, caller: &Caller, hours: Option<u64>) -> Result<Option<u64>, ProblemResponse> {
    let asked = match hours {
        None => None,
        Some(hours) if (1..=MAX_HOURS).contains(&hours) => {
            Some(now_ms.saturating_add(hours.saturating_mul(3_600_000)))
        }
        Some(hours) => {
            let title =
                format!("the lifetime of a token must be 1 to {MAX_HOURS} hours, not {hours}");
            return Err(problem(400, "bad-request", title, "use a number in this range"));
        }
    };
    Ok(match (asked, caller.0.expires_ms()) {
        (Some(asked), Some(own)) => Some(asked.min(own)),
        (asked, own) => asked.or(own),
    })
}

fn read<T: std::str::FromStr>(
    texts: &[String],
    what: &str,
    form: &str,
) -> Result<Vec<T>, ProblemResponse> {
    let bad = |text: &str| {
        let text: String = text.chars().filter(|one| !one.is_control()).take(80).collect();
        problem(400, "bad-request", format!("{text:?} is not {what}"), &format!("write {form}"))
    };
    if texts.is_empty() || texts.len() > MAX_NAMES {
        return Err(problem(
            400,
            "bad-request",
            format!("1 to {MAX_NAMES} times {what}"),
            &format!("write {form}"),
        ));
    }
    texts.iter().map(|text| text.parse().map_err(|_| bad(text))).collect()
}

fn verbs(texts: &[String]) -> Result<Vec<Verb>, ProblemResponse> {
    let all: Vec<&str> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
    let bad = |title: &str| {
        problem(400, "bad-request", title, &format!("the verbs are {}", all.join(", ")))
    };
    if texts.is_empty() || texts.len() > MAX_NAMES {
        return Err(bad("a token needs at least one verb, and each once"));
    }
    let verb = |text: &String| Verb::ALL.into_iter().find(|verb| verb.as_str() == text);
    texts.iter().map(|text| verb(text).ok_or_else(|| bad("the verb does not exist"))).collect()
}

fn no_room(full: &StoreError) -> ApiProblem {
    refused_by(vec![Refused {
        code: "token.no-room".into(),
        rule: full.to_string(),
        set_by: "the limits of a registry that many share".to_owned(),
        remedy: "revoke tokens that nobody uses, also expired ones: `tamis registry token list` shows them"
            .to_owned(),
    }])
}

fn unmade(why: &str) -> ProblemResponse {
    problem(503, "unavailable", why, "try again")
}

fn refused(caller: &Caller, error: &StoreError) -> ProblemResponse {
    match error {
        StoreError::TokenName(_) | StoreError::TokenExists(_) => {
            problem(400, "bad-request", error.to_string(), "choose another name")
        }
        StoreError::TokensFull(_) => no_room(error).into(),
        StoreError::Refused(refusal) if refusal.code() == Code::Unauthorized => {
            ended(caller.0.actor()).into()
        }
        StoreError::TokenUnknown(_) => absent(),
        StoreError::Refused(refusal) if refusal.is_out_of_room() => disk_full().into(),
        _ => {
            tracing::warn!(%error, "a token could not be written");
            problem(503, "unavailable", "the journal cannot be reached or refuses", "try again")
        }
    }
}
