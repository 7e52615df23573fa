"""What people read: words, charts, tables and pages made of results."""
