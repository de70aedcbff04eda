"""What writes the pages of docs/ and the dashboard of deploy/ that are made of the program's own tables."""
