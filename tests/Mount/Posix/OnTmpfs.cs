namespace EphemeralFs.Tests.Mount.Posix;

// The checks judged by tmpfs: each class once, on a mount of its own.
public sealed class PathOnTmpfs(TmpfsTarget target) : PathChecks(target), IClassFixture<TmpfsTarget>;
public sealed class NameOnTmpfs(TmpfsTarget target) : NameChecks(target), IClassFixture<TmpfsTarget>;
public sealed class OpenOnTmpfs(TmpfsTarget target) : OpenChecks(target), IClassFixture<TmpfsTarget>;
public sealed class ChmodOnTmpfs(TmpfsTarget target) : ChmodChecks(target), IClassFixture<TmpfsTarget>;
public sealed class ChownOnTmpfs(TmpfsTarget target) : ChownChecks(target), IClassFixture<TmpfsTarget>;
public sealed class DirectoryOnTmpfs(TmpfsTarget target) : DirectoryChecks(target), IClassFixture<TmpfsTarget>;
public sealed class StickyOnTmpfs(TmpfsTarget target) : StickyChecks(target), IClassFixture<TmpfsTarget>;
public sealed class LinkOnTmpfs(TmpfsTarget target) : LinkChecks(target), IClassFixture<TmpfsTarget>;
public sealed class RenameOnTmpfs(TmpfsTarget target) : RenameChecks(target), IClassFixture<TmpfsTarget>;
public sealed class TimeOnTmpfs(TmpfsTarget target) : TimeChecks(target), IClassFixture<TmpfsTarget>;
public sealed class DataOnTmpfs(TmpfsTarget target) : DataChecks(target), IClassFixture<TmpfsTarget>;
public sealed class AllocationOnTmpfs(TmpfsTarget target) : AllocationChecks(target), IClassFixture<TmpfsTarget>;
public sealed class CopyRangeOnTmpfs(TmpfsTarget target) : CopyRangeChecks(target), IClassFixture<TmpfsTarget>;
public sealed class MappingOnTmpfs(TmpfsTarget target) : MappingChecks(target), IClassFixture<TmpfsTarget>;

// One after the other: an actor's thread copies the descriptors of its process for a moment, which would delay what a last close does.
[Collection("locks on tmpfs")]
public sealed class LockOnTmpfs(TmpfsTarget target) : LockChecks(target), IClassFixture<TmpfsTarget>;
[Collection("locks on tmpfs")]
public sealed class FlockOnTmpfs(TmpfsTarget target) : FlockChecks(target), IClassFixture<TmpfsTarget>;
public sealed class ReaddirOnTmpfs(TmpfsTarget target) : ReaddirChecks(target), IClassFixture<TmpfsTarget>;
public sealed class XattrOnTmpfs(TmpfsTarget target) : XattrChecks(target), IClassFixture<TmpfsTarget>;
public sealed class SpaceOnTmpfs(TmpfsTarget target) : SpaceChecks(target), IClassFixture<TmpfsTarget>;
