using EphemeralFs.Tests.Model.Ops;
using EphemeralFs.Tests.Model.Running;

namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>Shrunk sequences that once told the volume from tmpfs. Each says what was wrong.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class ModelCounterexamples(VolumeFixture volume) : IDisposable
{
    [Fact]
    public void A_name_of_256_bytes_is_too_long() => OneNode($$"""
        {"op":"stat","Path":"{{new string('m', 256)}}"}
        {"op":"mkdir","Path":"{{new string('m', 256)}}","Mode":493}
        {"op":"symlink","Target":"{{new string('m', 256)}}","Path":"s0"}
        {"op":"rename","From":"s0","To":"{{new string('m', 256)}}"}
        """);

    // The file began in the metadata record and went on in a block; the reader knew only the record.
    [Fact]
    public void Bytes_appended_while_another_node_has_looked_are_read() => TwoNodes("""
        {"op":"open","Slot":1,"Path":"f2","Flags":66,"Mode":420}
        {"op":"open","Slot":2,"Path":"f2","Flags":1089,"Mode":420}
        {"op":"write","Slot":1,"Length":1,"Seed":835890}
        {"op":"pwrite","Slot":2,"Length":1,"Seed":360582}
        """);

    // The write that clears the bit was not committed yet.
    [Fact]
    public void A_write_clears_set_user_id_at_once() => OneNode("""
        {"op":"open","Slot":1,"Path":"f1","Flags":66,"Mode":3565}
        {"op":"pwrite","Slot":1,"Length":980,"Seed":998173}
        {"op":"fchmod","Slot":1,"Mode":3565}
        {"op":"pwrite","Slot":1,"Length":10,"Seed":459897,"As":1001}
        {"op":"stat","Path":"f1"}
        """);

    // Every fallocate cleared the bits, root's too.
    [Fact]
    public void Root_allocates_without_clearing_set_user_id() => OneNode("""
        {"op":"open","Slot":4,"Path":"f2","Flags":66,"Mode":2541}
        {"op":"fallocate","Slot":4,"Mode":3,"Offset":262144,"Length":8193}
        """);

    // The kernel wrote the mapping's page back through the handle with O_APPEND, and the page was appended.
    [Fact]
    public void A_mapped_page_is_not_appended() => TwoNodes("""
        {"op":"open","Slot":2,"Path":"f1","Flags":65,"Mode":420}
        {"op":"write","Slot":2,"Length":1,"Seed":169071}
        {"op":"open","Path":"f1","Flags":1026,"Mode":2541}
        {"op":"mapwrite","Length":1,"Seed":441014,"Msync":true}
        """);

    // Nobody but the kernel knows that a fifo is open: it was gone with its name.
    [Fact]
    public void An_open_fifo_without_a_name_can_be_changed() => OneNode("""
        {"op":"mknod","Path":"f3","Mode":4589}
        {"op":"open","Slot":5,"Path":"f3","Mode":1516}
        {"op":"unlink","Path":"f3"}
        {"op":"fchmod","Slot":5,"Mode":256}
        {"op":"fchown","Slot":5,"Uid":1001,"Gid":1002}
        {"op":"futimens","Slot":5,"Access":{"Seconds":1,"Nanoseconds":2},"Modify":{"Seconds":3,"Nanoseconds":4}}
        {"op":"fstat","Slot":5}
        """);

    // The times of an empty file did not move: the kernel says with the handle that it was ftruncate(2).
    [Fact]
    public void A_truncation_to_the_same_size_through_a_handle_moves_the_times() => OneNode("""
        {"op":"open","Slot":4,"Path":"f2","Flags":66,"Mode":420}
        {"op":"utimens","Path":"f2","Access":{"Seconds":738416340,"Nanoseconds":16737172},"Modify":{"Seconds":872137662,"Nanoseconds":835835742},"Follow":true}
        {"op":"ftruncate","Slot":4}
        {"op":"stat","Path":"f2"}
        """);

    // The old place of the directory stayed in this node's kernel, which could not move it under the locks of a rename.
    [Fact]
    public void A_directory_that_another_node_has_moved_is_renamed() => TwoNodes("""
        {"op":"mkdir","Path":"d1","Mode":1023}
        {"op":"mkdir","Path":"d1/e0","Mode":493}
        {"op":"mkdir","Path":"e1","Mode":493}
        {"op":"rename","From":"e1","To":"d1/e0","Flags":2,"Node":1}
        {"op":"rename","From":"e1","To":"d1/d2"}
        """);

    // chown(-1, -1) is a SETATTR without a field.
    [Fact]
    public void A_chown_of_nothing_clears_set_user_id() => OneNode("""
        {"op":"open","Slot":1,"Path":"f1","Flags":66,"Mode":2541}
        {"op":"chown","Path":"f1","Uid":4294967295,"Gid":4294967295}
        {"op":"stat","Path":"f1"}
        """);

    // Without CAP_FSETID the request says that privileges are to be taken, too.
    [Fact]
    public void A_truncate_of_nothing_by_somebody_else_leaves_the_times() => OneNode("""
        {"op":"open","Slot":2,"Path":"f3","Flags":65,"Mode":420}
        {"op":"chmod","Path":"f3","Mode":511}
        {"op":"utimens","Path":"f3","Modify":{"Seconds":303276054,"Nanoseconds":146870145}}
        {"op":"truncate","Path":"f3","As":1001}
        """);

    // A thread with another fsuid may keep CAP_SYS_ADMIN, which is what counts.
    [Fact]
    public void Who_administers_sees_the_names_of_trusted_attributes() => OneNode("""
        {"op":"mkdir","Path":"d0","Mode":1533}
        {"op":"setxattr","Path":"d0","Name":"trusted.a","Seed":269819,"Flags":1}
        {"op":"listxattr","Path":"d0","As":1002}
        """);

    public void Dispose() => volume.UnmountSecond();

    private void OneNode(string sequence) => Check(sequence, volume.First);

    private void TwoNodes(string sequence) => Check(sequence, volume.First, volume.Second);

    private void Check(string sequence, params string[] subjects)
    {
        var check = new ModelCheck(volume.World(null, subjects), new GeneratorOptions()) { CompareEvery = 1 };
        string report = check.Run(OpText.Read(sequence), "a named sequence");
        Assert.True(report.Length == 0, report);
    }
}
