"""Operations that are no record's: a file for each part of the system, as the pages have them. `ALL` is their order in the document."""
