//! The table of wrapped keys, and the installation's id: how a key gets in, is unwrapped and is destroyed.

use convizit_keys::{Binding, KEK_DAYS, KeyError, KeyProvider, ProjectKey, Secret, Wrapped, random_bytes};
use convizit_model::Timestamp;
use convizit_model::time::DAY_MILLIS;
use sqlx::{AnyConnection, query};

use crate::database::Database;
use crate::error::{Columns as _, During, StoreError};

/// Keys of a key-encryption key that are tried before it counts as gone.
const TRIED: i64 = 20;

/// A row of the table `keys`.
struct Row1 {
    number: i64,
    wrapped: Wrapped,
    made: Timestamp,
    from: Timestamp,
}

/// The installation's id, made at the first opening.
pub(crate) async fn installation(control: &Database) -> Result<[u8; 16], StoreError> {
    const NAME: &str = "read the installation's id";
    const READ: &str = "SELECT id FROM installation";
    let known: Option<String> = sqlx::query_scalar(READ).fetch_optional(control.readers()).await.during(NAME)?;
    let text: String = match known {
        Some(known) => known,
        None => {
            let random: String = random_bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
            control
                .run_tx(NAME, move |connection| {
                    let random = random.clone();
                    Box::pin(async move {
                        // Of two processes that start at once the second waits here, and finds what the first has made.
                        query("UPDATE control_version SET version = version WHERE id = 0")
                            .execute(&mut *connection)
                            .await
                            .during(NAME)?;
                        let known: Option<String> =
                            sqlx::query_scalar(READ).fetch_optional(&mut *connection).await.during(NAME)?;
                        if let Some(known) = known {
                            return Ok(known);
                        }
                        query("INSERT INTO installation (id) VALUES ($1)")
                            .bind(random.as_str())
                            .execute(&mut *connection)
                            .await
                            .during(NAME)?;
                        Ok(random)
                    })
                })
                .await?
        }
    };
    u128::from_str_radix(&text, 16)
        .map(u128::to_be_bytes)
        .map_err(|_| StoreError::Unusable("the installation's id is damaged: restore the control database".to_owned()))
}

pub(crate) async fn insert(
    connection: &mut AnyConnection,
    (project, kind, number): (i64, &'static str, i64),
    wrapped: &Wrapped,
    (made, from): (Timestamp, Timestamp),
) -> Result<bool, StoreError> {
    let done = query(
        "INSERT INTO keys (project, kind, number, wrapped_by, made, seals_from, wrapped) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project, kind, number) DO NOTHING",
    )
    .bind(project)
    .bind(kind)
    .bind(number)
    .bind(wrapped.kek.as_str())
    .bind(made.as_millis())
    .bind(from.as_millis())
    .bind(wrapped.bytes.as_slice())
    .execute(connection)
    .await
    .during("write key")?;
    Ok(done.rows_affected() == 1)
}

/// Makes a root secret or a version of a project's key, unless there is one; whether it was made here.
pub(crate) async fn make(
    control: &Database,
    provider: &dyn KeyProvider,
    binding: &Binding,
    (made, from): (Timestamp, Timestamp),
) -> Result<bool, StoreError> {
    let (project, kind, number) = (binding.project, binding.purpose, i64::from(binding.version));
    let known: Option<i64> =
        sqlx::query_scalar("SELECT number FROM keys WHERE project = $1 AND kind = $2 AND number >= $3 LIMIT 1")
            .bind(project)
            .bind(kind)
            .bind(number)
            .fetch_optional(control.readers())
            .await
            .during("read keys")?;
    if known.is_some() {
        return Ok(false);
    }
    let newest = provider.versions().await?.into_iter().next();
    let old = newest.filter(|kek| kek.made.is_some_and(|made_then| made.since(made_then) > KEK_DAYS * DAY_MILLIS));
    if let Some(kek) = old
        // After a year without the product nobody has rotated it in time.
        && let Err(error) = provider.rotate(made).await
    {
        tracing::error!(%error, "the key-encryption key cannot be rotated");
        return Err(KeyError::Expired { key: format!("key-encryption key {}", kek.id), days: KEK_DAYS }.into());
    }
    let wrapped = provider.wrap(binding, &random_bytes()?).await?;
    control
        .run_tx("write key", move |connection| {
            let wrapped = wrapped.clone();
            Box::pin(async move { insert(connection, (project, kind, number), &wrapped, (made, from)).await })
        })
        .await
}

/// Destroys a version of a project's key. The row stays, so that the version's number is never given again.
pub(crate) async fn destroy_version(
    connection: &mut AnyConnection,
    project: i64,
    number: i64,
) -> Result<(), StoreError> {
    query("UPDATE keys SET wrapped = $1, wrapped_by = 'destroyed' WHERE project = $2 AND kind = 'project' AND number = $3")
        .bind(Vec::new())
        .bind(project)
        .bind(number)
        .execute(connection)
        .await
        .during("destroy a version of a key")
        .map(|_| ())
}

async fn rows(control: &Database, project: i64, kind: &'static str) -> Result<Vec<Row1>, StoreError> {
    let rows = query(
        "SELECT number, wrapped_by, made, seals_from, wrapped FROM keys WHERE project = $1 AND kind = $2 \
         AND wrapped_by <> 'destroyed' ORDER BY number",
    )
    .bind(project)
    .bind(kind)
    .fetch_all(control.readers())
    .await
    .during("read keys")?;
    rows.iter()
        .map(|row| {
            Ok(Row1 {
                number: row.read(0)?,
                wrapped: Wrapped { kek: row.read(1)?, bytes: row.read(4)? },
                made: Timestamp::from_millis(row.read(2)?),
                from: Timestamp::from_millis(row.read(3)?),
            })
        })
        .collect()
}

/// All versions of the root secret or of a project's key, opened.
pub(crate) async fn unwrap_all(
    control: &Database,
    provider: &dyn KeyProvider,
    binding: &Binding,
) -> Result<Vec<ProjectKey>, StoreError> {
    let mut keys = Vec::new();
    for row in rows(control, binding.project, binding.purpose).await? {
        let number = u32::try_from(row.number).map_err(|_| gone("a key's version"))?;
        let secret: Secret = provider.unwrap(&Binding { version: number, ..*binding }, &row.wrapped).await?;
        keys.push(ProjectKey { number, secret, made: row.made, from: row.from });
    }
    Ok(keys)
}

/// Unwraps one of the keys that a key-encryption key wrapped: the first that opens, since one of a project may be damaged.
pub(crate) async fn check_wrapper(
    control: &Database,
    provider: &dyn KeyProvider,
    installation: [u8; 16],
    wrapper: &str,
) -> Result<(), StoreError> {
    let rows = query(
        "SELECT project, kind, number, wrapped FROM keys WHERE wrapped_by = $1 AND kind <> 'day' ORDER BY project LIMIT $2",
    )
    .bind(wrapper)
    .bind(TRIED)
    .fetch_all(control.readers())
    .await
    .during("read keys")?;
    let mut checked = Ok(());
    for row in rows {
        let purpose = if row.read::<&str>(1)? == "root" { "root" } else { "project" };
        let version = u32::try_from(row.read::<i64>(2)?).map_err(|_| gone("a key's version"))?;
        let binding = Binding { installation, purpose, project: row.read(0)?, version };
        match provider.unwrap(&binding, &Wrapped { kek: wrapper.to_owned(), bytes: row.read(3)? }).await {
            Ok(_) => return Ok(()),
            Err(error @ KeyError::Unwrap { .. }) => checked = checked.and(Err(error.into())),
            Err(error) => return Err(error.into()),
        }
    }
    // The provider has it, and it is the keys that are damaged: only their projects stand still.
    match provider.versions().await?.iter().any(|kek| kek.id == wrapper) {
        true => Ok(()),
        false => checked,
    }
}

pub(crate) fn gone(what: &str) -> StoreError {
    StoreError::Unusable(format!("{what} is missing from the table keys: restore the keys from their copy"))
}
