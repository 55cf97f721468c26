//! The audit as stores keep it.

use uuid::Uuid;

use crate::types::Timestamp;

/// An entry of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Later ones are greater.
    pub id: Uuid,
    pub at: Timestamp,
    /// Who did it; `None` where nobody was signed in, and for an operator.
    pub who: Option<String>,
    pub address: Option<String>,
    pub what: String,
    /// To whom.
    pub whom: Option<String>,
    pub detail: Option<String>,
    pub request_id: Option<String>,
    /// How often it happened.
    pub count: u64,
}

/// Entries of the audit, the latest first.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only entries before this one.
    pub after: Option<Uuid>,
    pub who: Option<String>,
    pub what: Option<String>,
    pub limit: usize,
}
