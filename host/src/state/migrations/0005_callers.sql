-- Who asked, for approvers and lists; and the kind and the application that what is opened is bound to.
ALTER TABLE approvals ADD COLUMN caller TEXT;
ALTER TABLE approvals ADD COLUMN chain TEXT;
ALTER TABLE windows ADD COLUMN chain TEXT;
ALTER TABLE sessions ADD COLUMN caller TEXT;
