//! The contract of `Store`, as tests that every implementation passes.
//!
//! A test is `async fn(Arc<dyn Store>)` in one of the modules here, and knows no store in particular. The list below
//! makes each of them a test of a store; what only one kind of store promises stands in a module of its own
//! (`sqlite*.rs` and `mongo*.rs`).

mod attention;
mod audit;
mod fixture;
mod log;
mod mongo;
mod mongo_log;
mod mongo_logins;
mod mongo_repair;
mod moving;
mod rooms;
mod sessions;
mod sqlite;
mod sqlite_journal;
mod sqlite_logins;
mod users;

/// Every test of the contract, run with `$with_store`, which opens an empty store for it.
macro_rules! contract {
    ($with_store:path) => {
        contract! { $with_store;
            audit::the_audit_is_listed_latest_first_and_by_who_and_what,
            audit::the_oldest_entries_of_the_audit_go_by_age_and_by_number,
            users::a_user_is_found_by_id_and_by_folded_name,
            users::a_taken_name_makes_no_user,
            users::a_name_that_looks_like_anothers_makes_no_user,
            users::twenty_sign_ups_for_names_that_look_alike_make_one_user,
            users::whoever_is_brought_keeps_a_name_that_looks_like_anothers,
            users::fifty_sign_ups_for_one_name_make_one_user,
            users::users_are_listed_by_folded_name_in_pages,
            users::a_prefix_means_itself_also_with_wildcards_in_it,
            users::a_change_of_nobody_says_so,
            users::a_display_name_changes_alone,
            users::roles_are_given_and_taken_without_repeats,
            users::the_last_enabled_admin_stays_admin_and_enabled,
            users::admins_who_remove_each_other_at_once_leave_one,
            users::a_new_password_ends_every_other_login,
            users::another_hash_of_the_same_password_ends_nothing,
            users::disabling_ends_every_login_and_raises_the_epoch,
            users::ending_logins_raises_the_epoch_each_time,
            users::a_deleted_user_has_no_name_password_role_or_login_and_cannot_be_enabled,
            users::a_freed_name_is_somebody_elses_and_a_kept_one_nobodys,
            users::the_last_enabled_admin_is_not_deleted,
            log::who_was_deleted_is_named_in_nothing_that_is_read,
            sessions::a_login_is_there_until_it_ends,
            sessions::past_the_limit_the_oldest_logins_end,
            sessions::a_rotated_token_is_replaced_and_the_expiry_moves,
            sessions::a_reused_token_ends_its_login_for_good,
            sessions::the_token_used_last_is_answered_again_for_a_while,
            sessions::after_the_grace_a_used_token_and_an_overtaken_one_end_their_login,
            sessions::a_token_of_another_family_changes_nothing,
            sessions::a_users_logins_are_listed_with_what_was_seen_of_them_last,
            sessions::an_unknown_or_expired_token_changes_nothing,
            sessions::without_a_grace_one_of_fifty_rotations_of_one_token_wins,
            sessions::of_fifty_answers_to_one_token_the_last_counts,
            sessions::a_token_leads_to_its_login_used_or_not,
            sessions::expired_logins_are_purged_in_portions,
            rooms::a_room_begins_with_its_first_events,
            rooms::fifty_who_open_one_pair_get_one_room,
            rooms::a_room_whose_first_events_are_not_dense_is_not_made,
            rooms::creating_a_room_again_finds_it,
            rooms::members_come_in_order_of_joining_in_pages,
            rooms::a_list_of_members_goes_on_after_one_who_left,
            rooms::who_comes_back_is_last_and_has_read_everything,
            rooms::roles_and_names_follow_the_log,
            rooms::joining_and_leaving_in_one_batch_ends_as_written,
            rooms::a_read_mark_moves_forward_to_the_head_and_never_back,
            rooms::posting_moves_the_senders_own_mark,
            rooms::fifty_marks_at_once_end_at_the_furthest,
            rooms::rooms_are_listed_latest_first_in_pages,
            rooms::rooms_of_one_instant_are_listed_once_each,
            rooms::a_summary_shows_the_latest_message_and_the_first_names,
            rooms::room_ids_come_ascending_in_pages,
            rooms::rooms_count_for_those_who_are_there_by_their_own_doing,
            attention::blocks_are_set_once_listed_in_pages_and_lifted,
            attention::two_are_apart_whoever_of_them_blocks,
            attention::a_hidden_room_is_listed_again_with_its_next_message,
            attention::hidden_rooms_take_no_place_on_a_page,
            attention::who_has_written_is_known,
            log::what_is_appended_is_read_back_byte_for_byte,
            log::an_empty_batch_changes_nothing,
            log::a_room_that_is_not_there_takes_nothing,
            log::a_taken_seq_stores_nothing,
            log::a_seq_past_the_next_leaves_no_hole,
            log::a_hole_within_a_batch_ends_the_prefix,
            log::a_duplicate_ends_the_prefix_and_shows_the_original,
            log::a_duplicate_within_a_batch_is_found,
            log::posts_are_found_by_their_client_ids,
            log::a_client_id_belongs_to_one_sender_in_one_room,
            log::the_head_follows_the_stored_prefix,
            log::two_racing_writers_leave_a_dense_log,
            log::fifty_retries_of_one_post_make_one_message,
            log::many_rooms_at_once_each_keep_their_order,
            log::a_read_after_an_acknowledged_write_sees_it,
            log::a_log_is_read_in_pages_both_ways,
            log::a_page_of_messages_skips_other_events,
            log::a_store_that_serves_is_ready,
            log::a_closed_store_refuses_and_closing_twice_is_fine,
            moving::every_room_is_listed_ascending_in_pages,
            moving::a_listed_room_is_the_room,
            moving::an_import_marks_an_empty_store_until_it_ends,
            moving::an_import_into_a_store_in_use_is_refused,
        }
    };
    ($with_store:path; $($module:ident :: $test:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                $with_store(super::$module::$test).await;
            }
        )*
    };
}

mod contract_on_sqlite {
    contract!(super::sqlite::with_store);
}

mod contract_on_sqlite_that_settles_every_post_at_once {
    contract!(super::sqlite::with_store_that_settles_at_once);
}

mod contract_on_mongo {
    contract!(super::mongo::with_store);
}
