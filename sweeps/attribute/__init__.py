"""Attribution in actors: of whole test sets, and what attribution along training shares with it."""
