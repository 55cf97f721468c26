//! The audit, for admins to read; and how a request is written into it.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::cursor::{self, Cursor};
use crate::{
    app::App,
    audit::By,
    chat::Caller,
    http::{
        request::Request,
        respond::{Rejection, Response, json},
    },
    store::{AuditQuery, AuditRecord},
    types::Timestamp,
};

/// A page of the audit, the latest entries first.
#[derive(Serialize, ToSchema)]
pub(super) struct Entries {
    entries: Vec<Entry>,
    /// For `?after=`; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// Something that happened.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct Entry {
    at: Timestamp,
    /// Who did it, or whose account it was tried on; null where there is no such account, and for an operator.
    #[schema(required)]
    who: Option<String>,
    /// From where; `local` for an operator at the command line, null for many addresses together.
    #[schema(required)]
    address: Option<String>,
    /// `sign_in`, `sign_in_failed`, `sign_in_refused`, `role_added`, `disabled` and so on.
    what: String,
    /// To whom.
    #[schema(required)]
    whom: Option<String>,
    /// What more there is to say: a role, a file.
    #[schema(required)]
    detail: Option<String>,
    #[schema(required)]
    request_id: Option<String>,
    /// How often it happened; what one address repeats is counted together.
    count: u64,
}

/// Where the list goes on.
impl Cursor for Uuid {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok()
    }
}

/// Who asks by this request.
pub(super) fn by(request: &Request, who: Option<&str>) -> By {
    By {
        who: who.map(str::to_owned),
        address: Some(request.peer.to_string()),
        request_id: Some(request.id.as_str().to_owned()),
    }
}

/// `GET /audit`
pub async fn list(app: &Arc<App>, _admin: Caller, request: Request) -> Result<Response, Rejection> {
    let (limit, after) = (request.page_limit()?, cursor::after::<Uuid>(&request)?);
    let (who, what) = (request.query("who"), request.query("what"));
    let query = AuditQuery { after, who, what, limit: limit + 1 };
    // What has just happened is in it.
    app.audit.flush().await;
    let mut entries = app.chat.audit(query).await?;
    let next = cursor::cut(&mut entries, limit, |entry| entry.id);
    let shown = entries.into_iter().map(|entry| {
        let AuditRecord { id: _, at, who, address, what, whom, detail, request_id, count } = entry;
        Entry { at, who, address, what, whom, detail, request_id, count }
    });
    Ok(json(&Entries { entries: shown.collect(), next }))
}
