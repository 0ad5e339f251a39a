namespace EphemeralFs.Tests.Mount.Posix;

// The same checks, judging us.
[Collection(MountCollection.Name)]
public sealed class PathOnMount(MountTarget target) : PathChecks(target);

[Collection(MountCollection.Name)]
public sealed class NameOnMount(MountTarget target) : NameChecks(target);

[Collection(MountCollection.Name)]
public sealed class OpenOnMount(MountTarget target) : OpenChecks(target);

[Collection(MountCollection.Name)]
public sealed class ChmodOnMount(MountTarget target) : ChmodChecks(target);

[Collection(MountCollection.Name)]
public sealed class ChownOnMount(MountTarget target) : ChownChecks(target);

[Collection(MountCollection.Name)]
public sealed class DirectoryOnMount(MountTarget target) : DirectoryChecks(target);

[Collection(MountCollection.Name)]
public sealed class StickyOnMount(MountTarget target) : StickyChecks(target);

[Collection(MountCollection.Name)]
public sealed class LinkOnMount(MountTarget target) : LinkChecks(target);

[Collection(MountCollection.Name)]
public sealed class RenameOnMount(MountTarget target) : RenameChecks(target);

[Collection(MountCollection.Name)]
public sealed class TimeOnMount(MountTarget target) : TimeChecks(target);

[Collection(MountCollection.Name)]
public sealed class DataOnMount(MountTarget target) : DataChecks(target);

[Collection(MountCollection.Name)]
public sealed class AllocationOnMount(MountTarget target) : AllocationChecks(target);

[Collection(MountCollection.Name)]
public sealed class CopyRangeOnMount(MountTarget target) : CopyRangeChecks(target);

[Collection(MountCollection.Name)]
public sealed class MappingOnMount(MountTarget target) : MappingChecks(target);

[Collection(MountCollection.Name)]
public sealed class LockOnMount(MountTarget target) : LockChecks(target);

[Collection(MountCollection.Name)]
public sealed class FlockOnMount(MountTarget target) : FlockChecks(target);

[Collection(MountCollection.Name)]
public sealed class ReaddirOnMount(MountTarget target) : ReaddirChecks(target);

[Collection(MountCollection.Name)]
public sealed class XattrOnMount(MountTarget target) : XattrChecks(target);

[Collection(MountCollection.Name)]
public sealed class SpaceOnMount(MountTarget target) : SpaceChecks(target);
