"""KaoKore's official files: the table of faces, the polite downloader, the questions as labels."""
