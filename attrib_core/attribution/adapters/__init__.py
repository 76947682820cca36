"""Attribution methods of others: captum's, and functions that users bring."""
