"""Fifteen ways in which an engine on Pachyderm goes wrong that is written without care, each with its test here.

 1. An error during the upload publishes half of it: test_a_reader_that_fails_midway_publishes_nothing
 2. A message for each line: test_a_line_that_is_longer_than_a_message_may_be_is_sent_in_parts
 3. RUNNING is believed: test_a_service_that_says_running_while_nothing_runs_is_found_out
 4. Pipelines are updated all the time: test_a_pipeline_is_made_once_and_changed_only_by_a_change
 5. Nothing has a deadline: test_a_call_that_hangs_ends_at_its_deadline, test_an_upload_that_hangs_is_given_up,
    test_a_stream_from_a_pachd_that_does_not_answer_any_more_ends
 6. Some errors are of no gRPC kind: test_a_pachd_that_nobody_listens_for_is_told
 7. Codes are believed to tell errors apart: test_what_an_answer_means
 8. The commit set of a service is waited for: test_a_change_of_data_is_one_commit_and_one_restart
 9. A commit's repo is read where 2.11 has none: test_the_oldest_pachd_that_is_supported_serves_as_well, and all others
10. Names that PFS refuses: test_names_that_pfs_refuses_are_told_before_anything_is_sent
11. Host follows Build: test_a_build_that_fails_leaves_the_host_alone,
    test_a_save_of_code_is_one_commit_and_neither_a_build_nor_a_restart
12. A service without a datum: test_a_host_whose_data_is_taken_away_runs_on
13. Ends of files get lost: test_a_file_that_is_cut_short_is_noticed
14. Calls join another's transaction: test_calls_beside_a_transaction_do_not_join_it
15. Names that Kubernetes cannot make: test_names_that_kubernetes_would_refuse
"""
