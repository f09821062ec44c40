"""What is done with a box as a whole: backup and restore, what a newer version has left, the support bundle."""
