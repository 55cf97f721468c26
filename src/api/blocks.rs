//! Whom somebody blocks.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{cursor, users::Name};
use crate::{
    app::App,
    chat::Caller,
    http::{
        request::Request,
        respond::{Rejection, Response, json, message},
    },
};

/// A page of those whom one blocks.
#[derive(Serialize, ToSchema)]
pub(super) struct Blocks {
    users: Vec<Name>,
    /// For `?after=`; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// Whom to block.
#[derive(Deserialize, ToSchema)]
pub(super) struct Block {
    username: String,
}

/// `GET /users/me/blocks`
pub async fn list(app: &Arc<App>, caller: Caller, request: Request) -> Result<Response, Rejection> {
    let (limit, after) = (request.page_limit()?, cursor::after(&request)?);
    let mut blocked = app.chat.blocks_of(&caller, after, limit + 1).await?;
    app.limiters.listed(caller.user_id, blocked.len());
    let next = cursor::cut(&mut blocked, limit, |one| one.user_id);
    Ok(json(&Blocks { users: blocked.into_iter().map(|one| Name { username: one.username }).collect(), next }))
}

/// `POST /users/me/blocks`
pub async fn block(app: &Arc<App>, caller: Caller, mut request: Request) -> Result<Response, Rejection> {
    let body: Block = request.json().await?;
    app.limiters.write(caller.user_id, 1)?;
    app.chat.set_block(&caller, &body.username, true).await?;
    Ok(message("User blocked successfully"))
}

/// `DELETE /users/me/blocks/{username}`
pub async fn unblock(app: &Arc<App>, caller: Caller, request: Request) -> Result<Response, Rejection> {
    app.limiters.write(caller.user_id, 1)?;
    app.chat.set_block(&caller, request.param("username"), false).await?;
    Ok(message("User unblocked successfully"))
}
