"""What people and programs see of a comparison: the table in every format, the page, the views of a running grid."""
