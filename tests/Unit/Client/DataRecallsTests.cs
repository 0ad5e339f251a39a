using EphemeralFs.Client.Files;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Client;

public sealed class DataRecallsTests
{
    private readonly DataRecalls _recalls = new();

    [Fact]
    public void An_answer_is_old_when_a_recall_came_after_its_question()
    {
        var before = _recalls.Ask();
        _recalls.Note(5, RecallAction.Invalidate);
        var after = _recalls.Ask();
        Assert.True(_recalls.IsOvertaken(before, 5));
        Assert.False(_recalls.IsOvertaken(after, 5));
        Assert.False(_recalls.IsOvertaken(before, 6));
    }

    [Fact]
    public void Only_who_is_told_to_write_through_must()
    {
        var asked = _recalls.Ask();
        _recalls.Note(5, RecallAction.Invalidate);
        Assert.False(_recalls.MustGoThrough(asked, 5));
        _recalls.Note(5, RecallAction.GoThrough);
        Assert.True(_recalls.MustGoThrough(asked, 5));
        Assert.True(_recalls.IsOvertaken(asked, 5));
        Assert.False(_recalls.MustGoThrough(_recalls.Ask(), 5));
    }
}
